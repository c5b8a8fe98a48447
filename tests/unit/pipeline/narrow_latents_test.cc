#include "server/pipeline/narrow_latents.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace tightfit {
namespace {

bool IsTooNarrow(int64_t height, int64_t width, at::ScalarType dtype = at::kBFloat16,
                 const char* device = "cpu", int32_t halving_count = 2) {
  return IsTooNarrowForOneDnn(at::empty({1, 4, height, width}), at::Device(device), dtype,
                              halving_count);
}

TEST(NarrowLatentsTest, AreThoseWhoseConvolutionsSeeOneOrTwoColumns) {
  EXPECT_TRUE(IsTooNarrow(3, 2));
  EXPECT_TRUE(IsTooNarrow(18, 1));
  EXPECT_TRUE(IsTooNarrow(5, 4)) << "2 columns and 3 rows after one halving";
  EXPECT_TRUE(IsTooNarrow(256, 3));
  EXPECT_FALSE(IsTooNarrow(17, 8));
  EXPECT_TRUE(IsTooNarrow(17, 8, at::kBFloat16, "cpu", 3)) << "2 columns after two halvings";
  EXPECT_FALSE(IsTooNarrow(2, 2));
  EXPECT_FALSE(IsTooNarrow(4, 4));
  EXPECT_FALSE(IsTooNarrow(256, 5));
  EXPECT_FALSE(IsTooNarrow(2, 256)) << "a low image is no narrow one";
  EXPECT_FALSE(IsTooNarrow(18, 1, at::kFloat));
  EXPECT_FALSE(IsTooNarrow(18, 1, at::kBFloat16, "cuda:0"));
}

// Where the processor has AMX this fails without the guard: what is freed here is what it reads.
TEST(NarrowLatentsTest, AreConvolvedWithoutOneDnnAsInFp32) {
  at::manual_seed(7);
  for (const int64_t width : {1, 2}) {
    const at::Tensor input = at::randn({2, 96, 9, width}).to(at::kBFloat16);
    const at::Tensor weight = (at::randn({96, 96, 3, 3}) / 30).to(at::kBFloat16);
    const at::Tensor expected =
        at::conv2d(input.to(at::kFloat), weight.to(at::kFloat), {}, /*stride=*/2, /*padding=*/1);
    for (const int64_t count : {1 << 14, 1 << 16, 1 << 18}) {
      std::vector<at::Tensor> freed;
      for (int i = 0; i < 8; ++i) {
        freed.push_back(at::full({count}, std::numeric_limits<float>::quiet_NaN(), at::kBFloat16));
      }
      freed.clear();
      const WithoutOneDnn guard(true);
      const at::Tensor got = at::conv2d(input, weight, {}, 2, 1).to(at::kFloat);
      EXPECT_LT((got - expected).abs().max().item<float>(), 0.1f) << width << " " << count;
    }
  }
  EXPECT_TRUE(at::globalContext().userEnabledMkldnn()) << "only while the guard lives";
}

}  // namespace
}  // namespace tightfit
