#include "server/pipeline/vae_encoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tightfit {
namespace {

using Outputs = Result<std::vector<at::Tensor>>;

// Two latents of one pixel each; `log_variance` is that of both.
class VaeEncoderTest : public testing::Test {
 protected:
  VaeEncoder Make(float log_variance, double scaling_factor = 0.5) {
    return {
        [this, log_variance]() -> Result<Network> {
          ++loads_;
          return Network{.run = [this, log_variance](std::vector<c10::IValue> inputs) -> Outputs {
            seen_ = inputs[0].toTensor().clone();
            const at::Tensor mean = seen_.slice(1, 0, 2);
            return std::vector<at::Tensor>{at::cat({mean, at::full_like(mean, log_variance)}, 1)};
          }};
        },
        scaling_factor};
  }

  // One row of two pixels.
  const RgbImage image_{.width_px = 2, .height_px = 1, .rgb = {0, 51, 255, 255, 128, 0}};
  at::Tensor seen_;
  int loads_ = 0;
};

TEST_F(VaeEncoderTest, SeesPlanesFromMinusOneToOne) {
  VaeEncoder encoder = Make(0.0f);
  ASSERT_TRUE(encoder.Encode(image_).ok());
  EXPECT_EQ(seen_.sizes(), at::IntArrayRef({1, 3, 1, 2}));
  const at::Tensor expected =
      at::tensor({-1.0f, 1.0f, -0.6f, 128 / 127.5f - 1.0f, 1.0f, -1.0f}).reshape({1, 3, 1, 2});
  EXPECT_TRUE(at::allclose(seen_, expected, 0.0, 1e-6));
}

TEST_F(VaeEncoderTest, SamplesByMeanAndDeviationAndThenScales) {
  const float log_variance = 2.0f * std::log(3.0f);
  VaeEncoder encoder = Make(log_variance);
  const auto distribution = encoder.Encode(image_);
  ASSERT_TRUE(distribution.ok());
  // Of two images.
  const at::Tensor noise = at::stack({at::zeros({2, 1, 2}), at::full({2, 1, 2}, 2.0)});
  const at::Tensor sample = distribution->Sample(noise);
  const at::Tensor mean = seen_.slice(1, 0, 2);
  EXPECT_TRUE(at::allclose(sample.narrow(0, 0, 1), mean * 0.5, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(sample.narrow(0, 1, 1), (mean + 3.0 * 2.0) * 0.5, 1e-5, 1e-6));
}

TEST_F(VaeEncoderTest, CutsVariancesOff) {
  for (const auto& [log_variance, expected] : {std::pair(-100.0f, -15.0f), {100.0f, 10.0f}}) {
    VaeEncoder encoder = Make(log_variance);
    const auto distribution = encoder.Encode(image_);
    ASSERT_TRUE(distribution.ok());
    EXPECT_FLOAT_EQ(distribution->deviation.max().item<float>(), std::exp(expected));
  }
}

TEST_F(VaeEncoderTest, LoadsItsNetworkOnceAndAgainWhenItWasReleased) {
  VaeEncoder encoder = Make(0.0f);
  EXPECT_EQ(loads_, 0);
  EXPECT_TRUE(encoder.Encode(image_).ok());
  EXPECT_TRUE(encoder.Encode(image_).ok());
  EXPECT_EQ(loads_, 1);
  encoder.Release();
  EXPECT_TRUE(encoder.Encode(image_).ok());
  EXPECT_EQ(loads_, 2);
}

TEST_F(VaeEncoderTest, TellsWhatIsNotFinite) {
  VaeEncoder encoder = Make(std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(encoder.Encode(image_).status().reason(), "NOT_FINITE");
  VaeEncoder failing(
      []() -> Result<Network> { return Status(StatusCode::kDataLoss, "CHECKSUM_MISMATCH", "bad"); },
      1.0);
  EXPECT_EQ(failing.Encode(image_).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace tightfit
