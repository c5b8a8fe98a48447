// Predictions against a network whose memory is known: every level counted by itself, every halving
// rounded up.
#include "server/engine/cost_trials.h"

#include "server/engine/memory_estimate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace tightfit {
namespace {

constexpr double kTokens = 77;
constexpr double kPromptBytes = kTokens * 160 * 4;  // of a chunk of a row
constexpr double kSlimShare = 2.5;
constexpr int32_t kSlimWidth = 4;

// A UNet as SDXL's: on each level a convolution, which may have a copy of its weights beside it,
// and below the first one attention; what the upper levels keep for the way back is held meanwhile.
class LevelledNetwork {
 public:
  LevelledNetwork(std::vector<double> channels, bool copies_weights, bool has_slim)
      : channels_(std::move(channels)), copies_weights_(copies_weights), has_slim_(has_slim) {}

  int32_t halvings() const { return static_cast<int32_t>(channels_.size()) - 1; }

  static double State(double rows, double chunks, double latents) {
    return rows * (chunks * kPromptBytes + 400) + rows * latents * 8;
  }

  double Denoise(int32_t height, int32_t width, double rows, double chunks) const {
    double held = 0.0;
    double most = 0.0;
    const double latents = static_cast<double>(height) * width;
    const double share = has_slim_ && width <= kSlimWidth ? kSlimShare : 1.0;
    for (size_t level = 0; level < channels_.size(); ++level) {
      const double channels = channels_[level];
      const double level_bytes = 4.0 * rows * height * width * channels;
      const double row_bytes = 1500 * rows;
      const double copied_bytes = copies_weights_ ? 9 * channels * channels * 4 : 0.0;
      most = std::max(most, held + 7 * level_bytes * share + copied_bytes);
      if (level > 0) {
        most = std::max(most, held + 12 * level_bytes * share);
        most = std::max(most, held + 4 * level_bytes * share +
                                  rows * chunks * 2 * kTokens * channels * 4 + row_bytes);
      }
      held += 2 * level_bytes;
      height = height / 2 + height % 2;
      width = width / 2 + width % 2;
    }
    return most + State(rows, chunks, latents);
  }

  Result<TrialCosts> Run(const CostTrial& trial) const {
    const double rows = trial.image_count * (trial.guided ? 2 : 1);
    const double latents = static_cast<double>(trial.height) * trial.width;
    return TrialCosts{.encode_peak = trial.chunk_count * 1000.0,
                      .state = State(rows, trial.chunk_count, latents),
                      .denoise_peak = Denoise(trial.height, trial.width, rows, trial.chunk_count),
                      .decode_peak = latents * 100};
  }

 private:
  const std::vector<double> channels_;
  const bool copies_weights_;
  const bool has_slim_;
};

class PredictedMemory {
 public:
  PredictedMemory(const LevelledNetwork& network, bool is_wide, bool has_slim) {
    model_.pixels_per_latent = 8;
    model_.memory.unet_halvings = network.halvings();
    model_.chunk_count = [this](const GenerationParameters&) { return chunks_; };
    auto costs = MeasureRequestCosts({.is_wide = is_wide,
                                      .unet_halvings = network.halvings(),
                                      .slim_width = has_slim ? kSlimWidth : 0},
                                     [&](const CostTrial& trial) { return network.Run(trial); });
    EXPECT_TRUE(costs.ok());
    model_.memory.costs = *costs;
  }

  double Denoise(int32_t height, int32_t width, int32_t images, bool guided, int32_t chunks) {
    chunks_ = chunks;
    GenerationParameters parameters;
    parameters.height_px = 8 * height;
    parameters.width_px = 8 * width;
    parameters.image_count = images;
    parameters.guidance_scale = guided ? 5.0f : 1.0f;
    return static_cast<double>(EstimateRequest(model_, parameters).denoise_bytes);
  }

 private:
  ModelDescription model_;
  int32_t chunks_ = 1;
};

// An encoder as SDXL's: on each level convolutions, and a padded copy of what is halved.
double EncodeImageBytes(int32_t height, int32_t width) {
  constexpr double kChannels[] = {128, 256, 512, 512};
  double rows = 8.0 * height;
  double columns = 8.0 * width;
  double most = 0.0;
  for (const double channels : kChannels) {
    const double level = 4 * channels * rows * columns;
    const double padded = 4 * channels * (rows + 1) * (columns + 1);
    most = std::max({most, 3 * level, level + 2 * padded});
    rows /= 2;
    columns /= 2;
  }
  return most;
}

TEST(CostTrialsOfImagesTest, PredictionsOfEncodingAreNeverTooLowAndNearWhatItTakes) {
  for (const bool is_wide : {true, false}) {
    int trials = 0;
    const auto run = [&trials](const CostTrial& trial) -> Result<TrialCosts> {
      trials += trial.encodes_image ? 1 : 0;
      return trial.encodes_image
                 ? TrialCosts{.encode_image_peak = EncodeImageBytes(trial.height, trial.width),
                              .encode_image_seconds = 1.0}
                 : TrialCosts{};
    };
    ModelDescription model;
    model.pixels_per_latent = 8;
    model.memory.costs = *MeasureRequestCosts({.is_wide = is_wide, .has_image_encoder = true}, run);
    EXPECT_EQ(trials, is_wide ? 2 : 6);
    EXPECT_GT(model.memory.costs->encode_image_latent_seconds, 0.0);
    GenerationParameters parameters;
    parameters.init_image = std::make_shared<const RgbImage>();
    parameters.output = OutputKind::kLatents;
    for (const int32_t height : {1, 2, 5, 8, 13, 64, 128, 255}) {
      for (const int32_t width : {1, 3, 8, 16, 33, 128, 500}) {
        parameters.height_px = 8 * height;
        parameters.width_px = 8 * width;
        const auto predicted =
            static_cast<double>(EstimateRequest(model, parameters).denoise_bytes);
        const double taken = EncodeImageBytes(height, width);
        EXPECT_GE(predicted, taken) << height << " x " << width;
        if (height * width < 256) continue;
        EXPECT_LE(predicted, 1.3 * taken) << height << " x " << width;
      }
    }
    trials = 0;
    EXPECT_TRUE(MeasureRequestCosts({.is_wide = is_wide}, run).ok());
    EXPECT_EQ(trials, 0) << "a model without an encoder";
  }
}

struct Case {
  std::string name;
  std::vector<double> channels;  // of each level
  bool is_wide = false;
  bool has_slim = false;
};

class CostTrialsTest : public testing::TestWithParam<Case> {};

TEST_P(CostTrialsTest, PredictionsAreNeverTooLowWhateverTheShape) {
  const LevelledNetwork network(GetParam().channels, !GetParam().is_wide, GetParam().has_slim);
  PredictedMemory predicted(network, GetParam().is_wide, GetParam().has_slim);
  std::mt19937 random(7);
  const auto between = [&random](int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random);
  };
  for (int i = 0; i < 20'000; ++i) {
    const int32_t narrow = between(2, 40);
    const int32_t wide = i % 3 == 0 ? between(2, 40) : between(2, 512);
    const int32_t height = i % 2 == 0 ? narrow : wide;
    const int32_t width = i % 2 == 0 ? wide : narrow;
    const int32_t images = between(1, 8);
    const bool guided = i % 4 != 0;
    const int32_t chunks = i % 5 == 0 ? between(1, 16) : 1;
    const double taken = network.Denoise(height, width, images * (guided ? 2 : 1), chunks);
    ASSERT_GE(predicted.Denoise(height, width, images, guided, chunks), taken)
        << height << " x " << width << ", " << images << " images, " << chunks << " chunks, "
        << (guided ? "guided" : "not guided");
  }
}

TEST_P(CostTrialsTest, PredictionsOfOrdinarySizesAreNearlyWhatIsTaken) {
  const LevelledNetwork network(GetParam().channels, !GetParam().is_wide, GetParam().has_slim);
  PredictedMemory predicted(network, GetParam().is_wide, GetParam().has_slim);
  for (int32_t side = 16; side <= 128; side += 8) {
    for (const int32_t images : {1, 3}) {
      const double taken = network.Denoise(side, side, 2 * images, 1);
      EXPECT_LE(predicted.Denoise(side, side, images, true, 1), 1.05 * taken) << side;
    }
  }
  if (GetParam().is_wide || GetParam().has_slim) return;
  for (int32_t height = 5; height <= 40; ++height) {
    const double taken = network.Denoise(height, 512, 2, 1);
    EXPECT_LE(predicted.Denoise(height, 512, 1, true, 1), 1.2 * taken) << height;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Networks, CostTrialsTest,
    testing::Values(Case{.name = "emoji", .channels = {96, 128, 192}},
                    Case{.name = "slim", .channels = {96, 128, 192}, .has_slim = true},
                    Case{.name = "even", .channels = {128}},
                    Case{.name = "steep", .channels = {64, 160, 256}},
                    Case{.name = "deep", .channels = {64, 96, 128, 256}},
                    Case{.name = "base", .channels = {320, 640, 1280}, .is_wide = true}),
    [](const testing::TestParamInfo<Case>& info) { return info.param.name; });

TEST(MeasureRequestCostsTest, EndsWithTheErrorOfATrial) {
  const auto costs =
      MeasureRequestCosts({}, [](const CostTrial&) -> Result<TrialCosts> { return LoadStopped(); });
  EXPECT_EQ(costs.status().code(), LoadStopped().code());
}

}  // namespace
}  // namespace tightfit
