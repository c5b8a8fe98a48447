#include "server/pipeline/vae.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

at::Tensor Image(std::vector<float> values, int64_t height, int64_t width) {
  return at::tensor(at::ArrayRef<float>(values)).reshape({1, 3, height, width});
}

TEST(RgbPixelsTest, InterleavesChannelsRowByRow) {
  // One row of two pixels: red, then blue-green.
  const auto pixels = ToRgbPixels(Image({1, -1, -1, 1, -1, 1}, 1, 2));
  ASSERT_TRUE(pixels.ok());
  EXPECT_EQ(pixels->width_px, 2);
  EXPECT_EQ(pixels->height_px, 1);
  EXPECT_THAT(pixels->rgb, ElementsAre(255, 0, 0, 0, 255, 255));
}

TEST(RgbPixelsTest, ClampsAndRoundsTiesToEven) {
  // (x / 2 + 0.5) * 255 of 0 is 127.5: a tie that goes to 128.
  const auto pixels = ToRgbPixels(Image({-7, 0, 9}, 1, 1));
  ASSERT_TRUE(pixels.ok());
  EXPECT_THAT(pixels->rgb, ElementsAre(0, 128, 255));
}

TEST(RgbPixelsTest, RefusesAnImageThatIsNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const auto pixels = ToRgbPixels(Image({0, bad, 0}, 1, 1));
    ASSERT_FALSE(pixels.ok());
    EXPECT_EQ(pixels.status().reason(), "NOT_FINITE");
  }
}

using Outputs = Result<std::vector<at::Tensor>>;

// Gives latents' first three channels, each value `scale` times, in `dtype`.
Network Echo(at::ScalarType dtype, float scale, int* calls = nullptr) {
  return {.run = [dtype, scale, calls](std::vector<c10::IValue> inputs) -> Outputs {
            if (calls != nullptr) ++*calls;
            const at::Tensor image = inputs[0].toTensor().to(at::kFloat).slice(1, 0, 3) * scale;
            return std::vector<at::Tensor>{image.to(dtype)};
          },
          .dtype = dtype};
}

TEST(VaeDecoderTest, DividesByTheScalingFactorInFp32AndThenCasts) {
  at::Tensor seen;
  VaeDecoder decoder({.run = [&seen](std::vector<c10::IValue> inputs) -> Outputs {
                        seen = inputs[0].toTensor();
                        return std::vector<at::Tensor>{at::zeros({1, 3, 2, 2}, at::kBFloat16)};
                      },
                      .dtype = at::kBFloat16},
                     0.5);
  const auto pixels = ImageDecoding(&decoder, at::full({1, 4, 1, 1}, 1.001f), {}).Next();
  ASSERT_TRUE(pixels.ok()) << pixels.status().ForLog();
  EXPECT_EQ(seen.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(seen, at::full({1, 4, 1, 1}, 2.002f).to(at::kBFloat16)));
  EXPECT_EQ((*pixels)->rgb.size(), 12u);
}

TEST(ImageDecodingTest, DecodesAgainInFp32WhatIsNotFiniteIn16Bits) {
  int loads = 0;
  int calls = 0;
  VaeDecoder decoder(Echo(at::kHalf, 1e6f), 1.0, [&]() -> Result<Network> {
    ++loads;
    return Echo(at::kFloat, 1.0f, &calls);
  });
  for (int image = 1; image <= 2; ++image) {
    ImageDecoding decoding(&decoder, at::full({1, 4, 1, 1}, 1.0f), {});
    auto first = decoding.Next();
    ASSERT_TRUE(first.ok()) << first.status().ForLog();
    EXPECT_FALSE(first->has_value());
    auto second = decoding.Next();
    ASSERT_TRUE(second.ok() && second->has_value());
    EXPECT_TRUE(decoding.is_in_fp32_again());
    EXPECT_THAT((*second)->rgb, ElementsAre(255, 255, 255));
    EXPECT_EQ(loads, 1);
    EXPECT_EQ(calls, image);
  }
}

TEST(ImageDecodingTest, BeginsTheWholeImageAgainWhereOneTileIsNotFinite) {
  int calls = 0;
  VaeDecoder decoder(Echo(at::kHalf, 1.0f), 1.0,
                     [&]() -> Result<Network> { return Echo(at::kFloat, 1e-6f, &calls); });
  at::Tensor latents = at::zeros({1, 4, 8, 8});
  latents[0][0][7][7] = 1e6f;  // in the last tile
  ImageDecoding decoding(&decoder, latents, TileSizes{.sample_px = 4, .latents = 4});
  std::optional<RgbPixels> pixels;
  while (!pixels.has_value()) {
    auto next = decoding.Next();
    ASSERT_TRUE(next.ok()) << next.status().ForLog();
    pixels = std::move(*next);
  }
  EXPECT_EQ(calls, 9);
  EXPECT_EQ(pixels->width_px, 8);
}

TEST(ImageDecodingTest, SaysWhatIsNotFiniteWhereFp32DoesNotHelp) {
  const auto message = [](VaeDecoder decoder, float latent) {
    ImageDecoding decoding(&decoder, at::full({1, 4, 1, 1}, latent), {});
    auto next = decoding.Next();
    if (next.ok() && !next->has_value()) next = decoding.Next();
    EXPECT_EQ(next.status().reason(), "NOT_FINITE");
    return next.status().message();
  };
  const auto fallback = []() -> Result<Network> {
    return Echo(at::kFloat, std::numeric_limits<float>::infinity());
  };
  EXPECT_THAT(message(VaeDecoder(Echo(at::kHalf, 1e6f), 1.0), 1.0f), HasSubstr("image"));
  EXPECT_THAT(message(VaeDecoder(Echo(at::kHalf, 1e6f), 1.0, fallback), 1.0f), HasSubstr("image"));
  EXPECT_THAT(message(VaeDecoder(Echo(at::kHalf, 1.0f), 1.0, fallback), NAN), HasSubstr("latents"));
}

// A decoder that makes two pixels of each latent, so that a tile's pixels do not depend on the
// tile.
at::Tensor Upsampled(const at::Tensor& latents) {
  return at::upsample_nearest2d(latents.slice(1, 0, 3), c10::nullopt, std::array{2.0, 2.0});
}

TEST(TiledImageTest, HasNoSeamsWhereTilesAgree) {
  for (const auto& [height, width] : {std::pair(9, 13), std::pair(8, 8), std::pair(4, 30)}) {
    // Also of sizes that have no whole quarter.
    for (const int64_t side : {8, 1, 2, 3, 5, 7, 10}) {
      const at::Tensor latents = at::rand({1, 4, height, width});
      TiledImage image(latents, {.sample_px = 2 * side, .latents = side});
      while (!image.is_complete()) image.Add(Upsampled(image.NextTile()));
      ASSERT_EQ(image.Image().sizes(), Upsampled(latents).sizes()) << side;
      EXPECT_TRUE(at::allclose(image.Image(), Upsampled(latents), 1e-6, 1e-6))
          << height << "x" << width << " in tiles of " << side;
    }
  }
}

TEST(TiledImageTest, FadesFromOneTileIntoTheNext) {
  TiledImage image(at::zeros({1, 4, 8, 14}), {.sample_px = 8, .latents = 8});
  float value = 0.0f;
  while (!image.is_complete()) {
    image.Add(at::full({1, 3, image.NextTile().size(2), image.NextTile().size(3)}, value));
    value += 1.0f;
  }
  // Tiles begin at 0, 6 and 12; the last two pixels of one fade into the next.
  const at::Tensor row = image.Image()[0][0][0].contiguous();
  EXPECT_THAT(std::vector<float>(row.data_ptr<float>(), row.data_ptr<float>() + row.numel()),
              ElementsAre(0, 0, 0, 0, 0, 0, 0, 0.5, 1, 1, 1, 1, 1, 1.5));
}

}  // namespace
}  // namespace tightfit
