#include "kernels/codec.h"
#include "tests/unit/kernels/packed_tensor_probe.h"

#include <gtest/gtest.h>

#include <span>
#include <vector>

namespace tightfit {
namespace {

class CodecRepresentableTest : public CodecTest {};

Representability CheckRepresentable(WeightFormat format, std::span<const uint16_t> fp16) {
  return PlanEncoding(format, 1, static_cast<int64_t>(fp16.size()), fp16.data(), InThreads(3))
      .representability;
}

void ExpectCounts(const Representability& found, int64_t nan, int64_t infinity, int64_t above) {
  EXPECT_EQ(found.nan_count, nan);
  EXPECT_EQ(found.infinity_count, infinity);
  EXPECT_EQ(found.out_of_range_count, above);
  EXPECT_EQ(found.ok(), nan + infinity + above == 0);
}

TEST_P(CodecRepresentableTest, CountsEveryPatternThatTheGoldenTableRefuses) {
  const std::vector<uint16_t> golden = GoldenEncode(format());
  std::vector<uint16_t> all(65536);
  int64_t refused = 0;
  for (uint32_t fp16 = 0; fp16 < 65536; ++fp16) {
    all[fp16] = static_cast<uint16_t>(fp16);
    refused += golden[fp16] == kNotRepresentable;
  }
  // Of each sign 1023 NaNs and one infinity.
  ExpectCounts(CheckRepresentable(format(), all), 2046, 2, refused - 2048);
}

TEST_P(CodecRepresentableTest, JudgesEachPatternAlone) {
  const std::vector<uint16_t> golden = GoldenEncode(format());
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto fp16 = static_cast<uint16_t>(i);
    const Representability found = CheckRepresentable(format(), {&fp16, 1});
    ASSERT_EQ(found.ok(), golden[fp16] != kNotRepresentable) << std::hex << i;
    ASSERT_LE(found.nan_count + found.infinity_count + found.out_of_range_count, 1);
  }
}

TEST_P(CodecRepresentableTest, FindsOneBadWeightAtAnyPlaceOfAnyLength) {
  const uint16_t largest = GoldenDecode(format())[CodeCount(info()) / 2 - 1];
  for (const uint16_t bad : {uint16_t{0x7C00}, uint16_t{0xFE00}, uint16_t{0x4000}}) {
    for (int64_t length = 1; length <= 67; ++length) {
      for (int64_t place = 0; place < length; ++place) {
        Guarded<uint16_t> fp16(length, length % 3);
        std::fill_n(fp16.begin(), length, largest);
        fp16.begin()[place] = bad;
        const Representability found =
            CheckRepresentable(format(), {fp16.begin(), static_cast<size_t>(length)});
        ExpectCounts(found, bad == 0xFE00, bad == 0x7C00, bad == 0x4000);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(CodecRepresentableTest, CountsOverMoreThanOneBlockAndFromAnOddAddress) {
  std::vector<uint16_t> fp16 = SomePatterns(format(), 20001, 3);
  fp16[1] = 0x7C01;
  fp16[4097] = 0xFC00;
  fp16[4098] = 0x7BFF;
  fp16[20000] = 0xFBFF;
  ExpectCounts(CheckRepresentable(format(), {fp16.data() + 1, 20000}), 1, 1, 2);
  ExpectCounts(CheckRepresentable(format(), {fp16.data() + 2, 4095}), 0, 0, 0);
  ExpectCounts(CheckRepresentable(format(), {}), 0, 0, 0);
}

INSTANTIATE_TEST_SUITE_P(FormatsAndSimdTargets, CodecRepresentableTest,
                         testing::Combine(testing::ValuesIn(HfFormats()),
                                          testing::ValuesIn(AllSimdTargets())),
                         CodecTestName);

}  // namespace
}  // namespace tightfit
