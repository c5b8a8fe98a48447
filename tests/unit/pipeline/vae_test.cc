#include "server/pipeline/vae.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace tightfit {
namespace {

using ::testing::ElementsAre;

at::Tensor Picture(std::vector<float> values, int64_t height, int64_t width) {
  return at::tensor(at::ArrayRef<float>(values)).reshape({1, 3, height, width});
}

TEST(RgbPixelsTest, InterleavesChannelsRowByRow) {
  // One row of two pixels: red, then blue-green.
  const auto pixels = ToRgbPixels(Picture({1, -1, -1, 1, -1, 1}, 1, 2));
  ASSERT_TRUE(pixels.ok());
  EXPECT_EQ(pixels->width_px, 2);
  EXPECT_EQ(pixels->height_px, 1);
  EXPECT_THAT(pixels->rgb, ElementsAre(255, 0, 0, 0, 255, 255));
}

TEST(RgbPixelsTest, ClampsAndRoundsTiesToEven) {
  // (x / 2 + 0.5) * 255 of 0 is 127.5: a tie that goes to 128.
  const auto pixels = ToRgbPixels(Picture({-7, 0, 9}, 1, 1));
  ASSERT_TRUE(pixels.ok());
  EXPECT_THAT(pixels->rgb, ElementsAre(0, 128, 255));
}

TEST(RgbPixelsTest, RefusesAPictureThatIsNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const auto pixels = ToRgbPixels(Picture({0, bad, 0}, 1, 1));
    ASSERT_FALSE(pixels.ok());
    EXPECT_EQ(pixels.status().reason(), "NOT_FINITE");
  }
}

TEST(VaeDecoderTest, DividesByTheScalingFactorInFp32AndThenCasts) {
  at::Tensor seen;
  const VaeDecoder decoder(
      {.run = [&seen](std::vector<c10::IValue> inputs) -> Result<std::vector<at::Tensor>> {
         seen = inputs[0].toTensor();
         return std::vector<at::Tensor>{at::zeros({1, 3, 2, 2}, at::kBFloat16)};
       },
       .dtype = at::kBFloat16},
      0.5);
  const auto pixels = decoder.Decode(at::full({1, 4, 1, 1}, 1.001f));
  ASSERT_TRUE(pixels.ok()) << pixels.status().ForLog();
  EXPECT_EQ(seen.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(seen, at::full({1, 4, 1, 1}, 2.002f).to(at::kBFloat16)));
  EXPECT_EQ(pixels->rgb.size(), 12u);
}

}  // namespace
}  // namespace tightfit
