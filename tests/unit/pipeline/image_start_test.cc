#include "server/pipeline/image_start.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

namespace tightfit {
namespace {

using ::testing::ElementsAre;

constexpr int32_t kImageStartSteps = 4;
constexpr LatentShape kShape{.channels = 4, .height = 2, .width = 3};

class ImageStartTest : public testing::Test {
 protected:
  ImageStartTest() {
    parameters_.seed = 5;
    parameters_.image_count = 2;
    parameters_.strength = 0.5;
  }

  void SetMask(std::vector<uint8_t> drawn) {
    parameters_.mask = std::make_shared<const ImageMask>(
        ImageMask{.width_px = 6, .height_px = 4, .drawn = std::move(drawn)});
  }

  ImageStart Start(const std::string& sampler, int32_t begin) {
    sampler_ = *MakeSampler(sampler, {}, kImageStartSteps);
    noise_ = std::make_unique<LatentNoise>(parameters_.seed, parameters_.image_count, kShape);
    return StartFromImage(parameters_, distribution_, *sampler_, begin, *noise_);
  }

  // What one image of that seed draws, the first draw first.
  static std::vector<at::Tensor> Draws(int64_t seed) {
    LatentNoise noise(seed, 1, kShape);
    return {noise.Draw(), noise.Draw(), noise.Draw(), noise.Draw()};
  }

  const LatentDistribution distribution_{.mean = at::full({1, 4, 2, 3}, 2.0f),
                                         .deviation = at::full({1, 4, 2, 3}, 0.5f),
                                         .scaling_factor = 0.25};
  GenerationParameters parameters_;
  std::unique_ptr<Sampler> sampler_;
  std::unique_ptr<LatentNoise> noise_;
};

TEST_F(ImageStartTest, EveryImageDrawsItsSampleAndThenItsNoise) {
  const ImageStart start = Start("euler", 2);
  EXPECT_FALSE(start.kept.has_value());
  for (int64_t i = 0; i < 2; ++i) {
    const auto draws = Draws(5 + i);
    const at::Tensor clean = (2.0 + 0.5 * draws[0]) * 0.25;
    EXPECT_TRUE(at::allclose(start.latents.narrow(0, i, 1), sampler_->AddNoise(clean, draws[1], 2),
                             1e-5, 1e-6));
    // What the sampler draws comes next.
    const at::Tensor swapped = (2.0 + 0.5 * draws[1]) * 0.25;
    EXPECT_FALSE(at::allclose(start.latents.narrow(0, i, 1),
                              sampler_->AddNoise(swapped, draws[0], 2), 1e-3, 1e-3));
  }
  EXPECT_TRUE(at::equal(noise_->Draw().narrow(0, 1, 1), Draws(6)[2]));
}

TEST_F(ImageStartTest, WithAMaskAThirdDrawIsLost) {
  SetMask(std::vector<uint8_t>(24, 255));
  ASSERT_TRUE(Start("euler", 2).kept.has_value());
  EXPECT_TRUE(at::equal(noise_->Draw().narrow(0, 1, 1), Draws(6)[3]));
}

TEST_F(ImageStartTest, AllOfTheDenoisingStillSeesTheImageButNotInAMask) {
  parameters_.strength = 1.0;
  const at::Tensor draw = Draws(5)[1];
  const at::Tensor over = Start("euler", 0).latents.narrow(0, 0, 1);
  EXPECT_FALSE(at::allclose(over, draw * sampler_->init_noise_sigma(), 1e-3, 1e-3));
  SetMask(std::vector<uint8_t>(24, 255));
  const at::Tensor masked = Start("euler", 0).latents.narrow(0, 0, 1);
  EXPECT_TRUE(at::equal(masked, draw * sampler_->init_noise_sigma()));
}

TEST_F(ImageStartTest, ALatentIsDrawnWhereItsFirstPixelIs) {
  // Latents are two pixels wide and high; the mask has one pixel at a latent's corner, and a row
  // and a column that lie between.
  std::vector<uint8_t> drawn(24, 0);
  drawn[2] = 255;                                      // row 0, column 2
  for (int x = 0; x < 6; ++x) drawn[6 + x] = 255;      // row 1
  for (int y = 0; y < 4; ++y) drawn[6 * y + 5] = 255;  // column 5
  SetMask(drawn);
  const ImageStart start = Start("euler", 2);
  const at::Tensor expected = at::tensor({0.0f, 1.0f, 0.0f, 0.0f, 0.0f, 0.0f});
  EXPECT_TRUE(at::equal(start.kept->drawn, expected.reshape({1, 1, 2, 3})));
}

TEST_F(ImageStartTest, WhatIsKeptIsAsNoisyAsTheNextCallBeginsAndCleanInTheEnd) {
  std::vector<uint8_t> drawn(24, 0);
  drawn[0] = 255;
  SetMask(drawn);
  for (const char* name : {"euler", "heun", "dpmpp-2m", "ddim", "lcm", "dpmpp-sde", "unipc",
                           "dpmpp-3m-sde", "kdpm2", "kdpm2-a", "deis", "pndm", "ddpm"}) {
    const KeptLatents kept = *Start(name, 0).kept;
    const at::Tensor latents = at::full({2, 4, 2, 3}, 9.0f);
    for (int32_t call = 0; call < sampler_->call_count(); ++call) {
      const at::Tensor blended = kept.Blend(latents, *sampler_, call);
      EXPECT_TRUE(blended.select(2, 0).select(2, 0).eq(9.0).all().item<bool>()) << name;
      const bool is_last = call + 1 == sampler_->call_count();
      const at::Tensor expected =
          is_last ? kept.clean : sampler_->AddNoise(kept.clean, kept.noise, call + 1);
      EXPECT_TRUE(at::equal(blended.select(2, 1), expected.select(2, 1))) << name << " " << call;
    }
  }
}

TEST(KeepPixelsTest, PutsThePixelsOfTheImageWhereTheMaskKeepsThem) {
  const RgbImage image{.width_px = 2, .height_px = 1, .rgb = {1, 2, 3, 4, 5, 6}};
  std::vector<uint8_t> rgb = {91, 92, 93, 94, 95, 96};
  KeepPixels(image, {.width_px = 2, .height_px = 1, .drawn = {255, 0}}, &rgb);
  EXPECT_THAT(rgb, ElementsAre(91, 92, 93, 4, 5, 6));
}

}  // namespace
}  // namespace tightfit
