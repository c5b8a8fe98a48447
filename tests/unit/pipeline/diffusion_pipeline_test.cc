#include "server/pipeline/diffusion_pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A pipeline over networks whose answers are known: the UNet's prediction is a function of its own
// row alone, the VAE shows the first three latent channels, two pixels for each latent.
class DiffusionPipelineTest : public ::testing::Test {
 protected:
  DiffusionPipeline MakePipeline(at::ScalarType dtype = at::kFloat) {
    ModelDescription description;
    description.name = "synthetic";
    description.pixels_per_latent = 2;
    description.vae_tiling = vae_tiling_;
    description.vae_tile_px = 8;
    description.samplers = SamplerNames();
    const auto half = [] {
      return TextEncoder::Encoder{
          .chunk =
              [](std::string_view prompt, const PromptReading&) {
                return ChunkedPrompt{
                    .chunks = {{.ids = {static_cast<int64_t>(prompt.size())}, .weights = {1.0f}}}};
              },
          .network = {
              .run = [](std::vector<c10::IValue> inputs) -> Result<std::vector<at::Tensor>> {
                const at::Tensor seen = inputs[0].toTensor().to(at::kFloat);
                return std::vector<at::Tensor>{seen.unsqueeze(-1).unsqueeze(0), seen};
              }}};
    };
    return DiffusionPipeline(
        {.description = description,
         .scheduler = {},
         .conditioner = Conditioner(
             TextEncoder({half(), half()}, true),
             {.takes_pooled = true, .time_ids = {}, .force_zeros_for_empty_prompt = true}),
         .denoiser =
             Denoiser({.run = [this](std::vector<c10::IValue> inputs) { return Unet(inputs); },
                       .dtype = dtype},
                      {kSampleInput, kTimestepInput, kTextInput, kPooledInput}, 2),
         .codec = {.decoder = needs_fp32_vae_ ? VaeDecoder(Vae(at::kHalf), 1.0,
                                                           [this] { return Vae(at::kFloat); })
                                              : VaeDecoder(Vae(at::kFloat), 1.0),
                   .encoder = VaeEncoder([this] { return Encoder(); }, 1.0)}});
  }

  // The mean of two pixels by two, four channels of it; nearly no variance.
  Network Encoder() {
    return {.run = [this](std::vector<c10::IValue> inputs) -> Result<std::vector<at::Tensor>> {
      ++encoder_calls_;
      const at::Tensor mean = at::avg_pool2d(inputs[0].toTensor(), 2).mean(1, true);
      return std::vector<at::Tensor>{
          at::cat({mean.repeat({1, 4, 1, 1}), at::full_like(mean, -60.0).repeat({1, 4, 1, 1})}, 1)};
    }};
  }

  std::shared_ptr<const RgbImage> Grey(uint8_t value) const {
    RgbImage image{.width_px = 12, .height_px = 8, .rgb = {}};
    image.rgb.assign(size_t{3} * 12 * 8, value);
    return std::make_shared<const RgbImage>(std::move(image));
  }

  static std::shared_ptr<const ImageMask> LeftHalf() {
    ImageMask mask{.width_px = 12, .height_px = 8, .drawn = {}};
    for (int i = 0; i < 12 * 8; ++i) mask.drawn.push_back(i % 12 < 6 ? 255 : 0);
    return std::make_shared<const ImageMask>(std::move(mask));
  }

  // In 16 bits it gives nothing finite.
  Network Vae(at::ScalarType dtype) {
    return {
        .run = [this, dtype](std::vector<c10::IValue> inputs) -> Result<std::vector<at::Tensor>> {
          ++decoder_calls_;
          const at::Tensor image = at::upsample_nearest2d(inputs[0].toTensor().slice(1, 0, 3),
                                                          c10::nullopt, std::array{2.0, 2.0});
          return std::vector<at::Tensor>{
              dtype == at::kHalf ? at::full_like(image, std::numeric_limits<float>::infinity())
                                 : image};
        },
        .dtype = dtype};
  }

  Result<std::vector<at::Tensor>> Unet(const std::vector<c10::IValue>& inputs) {
    if (!unet_status_.ok()) return unet_status_;
    const at::Tensor sample = inputs[0].toTensor();
    batch_sizes_.push_back(sample.size(0));
    timesteps_.push_back(inputs[1].toTensor()[0].item<float>());
    sample_dtype_ = sample.scalar_type();
    const at::Tensor prompt = inputs[2].toTensor().select(1, 0).select(1, 0);
    return std::vector<at::Tensor>{at::tanh(sample) + prompt.reshape({-1, 1, 1, 1}) * 0.125};
  }

  std::unique_ptr<Sampling> Begin(DiffusionPipeline& pipeline,
                                  const GenerationParameters& parameters) {
    auto sampling = pipeline.Begin(parameters);
    EXPECT_TRUE(sampling.ok()) << sampling.status().ForLog();
    return std::move(*sampling);
  }

  static Status StepOne(DiffusionPipeline& pipeline, Sampling& sampling) {
    Sampling* const member = &sampling;
    return pipeline.Step(std::span(&member, 1));
  }

  static at::Tensor Finish(DiffusionPipeline& pipeline, Sampling& sampling) {
    while (sampling.steps_done() < sampling.step_count()) {
      const Status status = StepOne(pipeline, sampling);
      EXPECT_TRUE(status.ok()) << status.ForLog();
    }
    return static_cast<DiffusionSampling&>(sampling).latents();
  }

  GenerationParameters parameters_{.prompt = "12",
                                   .width_px = 12,
                                   .height_px = 8,
                                   .step_count = 3,
                                   .guidance_scale = 5.0f,
                                   .sampler = "euler-a",
                                   .seed = 9,
                                   .image_count = 1};
  std::string vae_tiling_ = "never";
  Status unet_status_;
  int decoder_calls_ = 0;
  int encoder_calls_ = 0;
  bool needs_fp32_vae_ = false;
  std::vector<int64_t> batch_sizes_;
  std::vector<float> timesteps_;
  at::ScalarType sample_dtype_ = at::kFloat;
};

TEST_F(DiffusionPipelineTest, CountsStepsAndImages) {
  DiffusionPipeline pipeline = MakePipeline();
  parameters_.image_count = 2;
  const auto sampling = Begin(pipeline, parameters_);
  EXPECT_EQ(sampling->step_count(), 3);
  EXPECT_EQ(sampling->image_count(), 2);
  for (int32_t step = 0; step < 3; ++step) {
    EXPECT_EQ(sampling->steps_done(), step);
    ASSERT_TRUE(StepOne(pipeline, *sampling).ok());
  }
  for (int32_t index = 0; index < 2; ++index) {
    EXPECT_EQ(sampling->images_done(), index);
    const auto image = pipeline.DecodeNext(*sampling);
    ASSERT_TRUE(image.ok() && image->has_value());
    EXPECT_EQ((*image)->index, index);
    EXPECT_EQ((*image)->seed, 9 + index);
    EXPECT_EQ((*image)->width_px, 12);
    EXPECT_EQ((*image)->height_px, 8);
    EXPECT_EQ((*image)->rgb.size(), 12u * 8u * 3u);
  }
  EXPECT_EQ(sampling->images_done(), 2);
}

// The call before the VAE in fp32 is needed says so, once a request.
TEST_F(DiffusionPipelineTest, TriesTheVaeIn16BitsOnceARequest) {
  needs_fp32_vae_ = true;
  DiffusionPipeline pipeline = MakePipeline();
  parameters_.image_count = 3;
  const auto sampling = Begin(pipeline, parameters_);
  Finish(pipeline, *sampling);
  EXPECT_FALSE(sampling->needs_fallback());
  const auto first = pipeline.DecodeNext(*sampling);
  ASSERT_TRUE(first.ok() && !first->has_value());
  EXPECT_TRUE(sampling->needs_fallback());
  for (int image = 0; image < 3; ++image) {
    const auto decoded = pipeline.DecodeNext(*sampling);
    ASSERT_TRUE(decoded.ok() && decoded->has_value()) << image;
    EXPECT_TRUE((*decoded)->decoded_again_in_fp32);
  }
  EXPECT_EQ(decoder_calls_, 1 + 3);
}

TEST_F(DiffusionPipelineTest, TellsHowManyLatentsItsCallsSee) {
  DiffusionPipeline pipeline = MakePipeline();
  parameters_.image_count = 3;
  const auto guided = Begin(pipeline, parameters_);
  EXPECT_EQ(guided->denoised_latents(), 2 * 3 * (6 * 4));
  EXPECT_EQ(guided->decoded_latents(), 6 * 4);
  parameters_.guidance_scale = 1.0f;
  EXPECT_EQ(Begin(pipeline, parameters_)->denoised_latents(), 3 * (6 * 4));
}

TEST_F(DiffusionPipelineTest, RefusesCallsOutOfOrder) {
  DiffusionPipeline pipeline = MakePipeline();
  const auto sampling = Begin(pipeline, parameters_);
  EXPECT_EQ(pipeline.DecodeNext(*sampling).status().code(), StatusCode::kInternal);
  Finish(pipeline, *sampling);
  EXPECT_EQ(StepOne(pipeline, *sampling).code(), StatusCode::kInternal);
  EXPECT_EQ(sampling->steps_done(), 3);
  EXPECT_TRUE(pipeline.DecodeNext(*sampling).ok());
  EXPECT_EQ(pipeline.DecodeNext(*sampling).status().code(), StatusCode::kInternal);
  EXPECT_EQ(sampling->images_done(), 1);
}

TEST_F(DiffusionPipelineTest, OneUnetCallForAllImagesTwiceTheRowsWithGuidance) {
  DiffusionPipeline pipeline = MakePipeline();
  parameters_.image_count = 3;
  Finish(pipeline, *Begin(pipeline, parameters_));
  EXPECT_THAT(batch_sizes_, ElementsAre(6, 6, 6));
  EXPECT_THAT(timesteps_, ElementsAre(667, 334, 1));
  batch_sizes_.clear();
  parameters_.guidance_scale = 1.0f;
  Finish(pipeline, *Begin(pipeline, parameters_));
  EXPECT_THAT(batch_sizes_, ElementsAre(3, 3, 3));
}

TEST_F(DiffusionPipelineTest, GuidanceGoesFromTheNegativeThroughThePositivePrediction) {
  DiffusionPipeline pipeline = MakePipeline();
  parameters_.sampler = "euler";
  parameters_.step_count = 1;
  parameters_.negative_prompt = "1";
  const auto sampling = Begin(pipeline, parameters_);
  const at::Tensor start = static_cast<DiffusionSampling&>(*sampling).latents().clone();
  const at::Tensor end = Finish(pipeline, *sampling);
  auto sampler = MakeSampler("euler", {}, 1);
  LatentNoise unused(0, 1, {});
  const at::Tensor free = at::tanh((*sampler)->ScaleModelInput(start, 0));
  // 1 / 8 for the negative prompt's length, then 5 times the difference between both.
  const at::Tensor expected = (*sampler)->Step(free + 0.125 + 5.0 * 0.125, start, 0, unused);
  EXPECT_TRUE(at::allclose(end, expected, 1e-5, 1e-6));
}

TEST_F(DiffusionPipelineTest, AnImageDoesNotDependOnItsNeighboursInTheBatch) {
  DiffusionPipeline pipeline = MakePipeline();
  parameters_.image_count = 3;
  const at::Tensor three = Finish(pipeline, *Begin(pipeline, parameters_));
  parameters_.image_count = 1;
  parameters_.seed = 11;
  const at::Tensor last = Finish(pipeline, *Begin(pipeline, parameters_));
  EXPECT_TRUE(at::allclose(three.narrow(0, 2, 1), last, 1e-6, 1e-6));
}

TEST_F(DiffusionPipelineTest, RequestsInOneBatchDoNotDisturbEachOther) {
  DiffusionPipeline pipeline = MakePipeline();
  const at::Tensor alone = Finish(pipeline, *Begin(pipeline, parameters_)).clone();
  GenerationParameters other = parameters_;
  other.seed = 77;
  other.width_px = 4;
  const auto first = Begin(pipeline, parameters_);
  const auto second = Begin(pipeline, other);
  std::array<Sampling*, 2> batch = {second.get(), first.get()};
  for (int step = 0; step < 3; ++step) ASSERT_TRUE(pipeline.Step(batch).ok());
  EXPECT_TRUE(at::equal(static_cast<DiffusionSampling&>(*first).latents(), alone));
}

TEST_F(DiffusionPipelineTest, LatentsStayFp32WhenTheUnetComputesInBf16) {
  DiffusionPipeline pipeline = MakePipeline(at::kBFloat16);
  const at::Tensor latents = Finish(pipeline, *Begin(pipeline, parameters_));
  EXPECT_EQ(sample_dtype_, at::kBFloat16);
  EXPECT_EQ(latents.scalar_type(), at::kFloat);
  EXPECT_FALSE(at::equal(latents, latents.to(at::kBFloat16).to(at::kFloat)));
}

TEST_F(DiffusionPipelineTest, AFailedStepDoesNotCount) {
  DiffusionPipeline pipeline = MakePipeline();
  const auto sampling = Begin(pipeline, parameters_);
  unet_status_ = Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "full");
  EXPECT_EQ(StepOne(pipeline, *sampling).reason(), "OUT_OF_MEMORY");
  EXPECT_EQ(sampling->steps_done(), 0);
  unet_status_ = OkStatus();
  EXPECT_TRUE(StepOne(pipeline, *sampling).ok());
}

TEST_F(DiffusionPipelineTest, TwoPartsOfTheDenoisingGiveWhatTheWholeGives) {
  DiffusionPipeline pipeline = MakePipeline();
  parameters_.sampler = "euler";
  parameters_.step_count = 4;
  parameters_.image_count = 2;
  const at::Tensor whole = Finish(pipeline, *Begin(pipeline, parameters_)).clone();
  timesteps_.clear();

  GenerationParameters first = parameters_;
  first.denoising_end = 0.5f;
  first.output = OutputKind::kLatents;
  const auto first_part = Begin(pipeline, first);
  EXPECT_EQ(first_part->step_count(), 2);
  Finish(pipeline, *first_part);
  GenerationParameters second = parameters_;
  second.denoising_start = 0.5f;
  for (int32_t i = 0; i < 2; ++i) {
    auto image = pipeline.DecodeNext(*first_part);
    ASSERT_TRUE(image.ok() && image->has_value());
    EXPECT_TRUE((*image)->rgb.empty());
    second.initial_latents.push_back(std::move((*image)->latents));
  }
  EXPECT_EQ(decoder_calls_, 0);
  const at::Tensor joined = Finish(pipeline, *Begin(pipeline, second));
  EXPECT_THAT(timesteps_, ElementsAre(751, 501, 251, 1));
  EXPECT_TRUE(at::equal(joined, whole));
}

TEST_F(DiffusionPipelineTest, DecodesOneTileACall) {
  vae_tiling_ = "always";
  DiffusionPipeline pipeline = MakePipeline();
  const auto sampling = Begin(pipeline, parameters_);  // 12 x 8 px: 6 x 4 latents, tiles of 4
  Finish(pipeline, *sampling);
  std::optional<Image> image;
  int calls = 0;
  for (; !image.has_value(); ++calls) {
    auto decoded = pipeline.DecodeNext(*sampling);
    ASSERT_TRUE(decoded.ok()) << decoded.status().ForLog();
    image = std::move(*decoded);
    EXPECT_EQ(sampling->images_done(), image.has_value() ? 1 : 0);
  }
  EXPECT_EQ(calls, 4);
  EXPECT_EQ(decoder_calls_, 4);
  EXPECT_EQ(image->width_px, 12);
  EXPECT_EQ(image->height_px, 8);
}

TEST_F(DiffusionPipelineTest, OverAnImageMakesTheLastStepsAndEncodesItOnce) {
  DiffusionPipeline pipeline = MakePipeline();
  parameters_.image_count = 3;
  Finish(pipeline, *Begin(pipeline, parameters_));
  EXPECT_EQ(encoder_calls_, 0) << "text alone needs no encoder";
  timesteps_.clear();
  parameters_.init_image = Grey(40);
  parameters_.strength = 0.7;
  const auto sampling = Begin(pipeline, parameters_);
  EXPECT_EQ(sampling->step_count(), 2);
  Finish(pipeline, *sampling);
  EXPECT_THAT(timesteps_, ElementsAre(334, 1));
  EXPECT_EQ(encoder_calls_, 1);
}

TEST_F(DiffusionPipelineTest, OutsideOfTheMaskLatentsAndPixelsAreTheImages) {
  DiffusionPipeline pipeline = MakePipeline();
  for (const char* sampler : {"euler-a", "heun", "dpmpp-sde", "dpmpp-2m", "lcm", "kdpm2", "pndm"}) {
    parameters_.sampler = sampler;
    parameters_.init_image = Grey(40);
    parameters_.mask = LeftHalf();
    parameters_.strength = 0.7;
    for (const bool keeps : {true, false}) {
      parameters_.keep_unmasked_pixels = keeps;
      const auto sampling = Begin(pipeline, parameters_);
      const at::Tensor latents = Finish(pipeline, *sampling);
      const float grey = 40 / 127.5f - 1.0f;
      EXPECT_TRUE(at::allclose(latents.slice(3, 3), at::full({1, 4, 4, 3}, grey), 0, 1e-5))
          << sampler;
      EXPECT_FALSE(at::allclose(latents.slice(3, 0, 3), at::full({1, 4, 4, 3}, grey), 0, 0.1));
      const auto image = pipeline.DecodeNext(*sampling);
      ASSERT_TRUE(image.ok() && image->has_value());
      for (size_t pixel = 0; pixel < 12 * 8; ++pixel) {
        if (pixel % 12 < 6) continue;
        EXPECT_NEAR((*image)->rgb[3 * pixel], 40, keeps ? 0 : 1) << sampler << " " << pixel;
      }
    }
  }
}

TEST_F(DiffusionPipelineTest, RefusesImagesThatItCannotDrawOver) {
  DiffusionPipeline pipeline = MakePipeline();
  const auto expect_refused = [&](auto change, const std::string& word) {
    GenerationParameters parameters = parameters_;
    parameters.init_image = Grey(1);
    change(parameters);
    const auto sampling = pipeline.Begin(parameters);
    ASSERT_FALSE(sampling.ok()) << word;
    EXPECT_EQ(sampling.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(sampling.status().message(), HasSubstr(word));
  };
  expect_refused([](auto& p) { p.width_px = 14; }, "init_image must have the size");
  expect_refused([](auto& p) { p.mask = std::make_shared<const ImageMask>(); },
                 "mask must have the size");
  expect_refused([](auto& p) { p.strength = 0.3; }, "strength 0.3 of 3 steps");
  expect_refused(
      [](auto& p) {
        p.mask = LeftHalf();
        p.init_image = nullptr;
      },
      "mask needs an init_image");
  expect_refused(
      [](auto& p) {
        p.denoising_start = 0.5f;
        p.initial_latents = {{.channels = 4, .height = 4, .width = 6, .values = {}}};
        p.initial_latents[0].values.resize(4 * 4 * 6);
      },
      "no denoising_start");
}

TEST_F(DiffusionPipelineTest, RefusesWhatTheModelCannotDraw) {
  DiffusionPipeline pipeline = MakePipeline();
  const auto expect_refused = [&](auto change, const std::string& word) {
    GenerationParameters parameters = parameters_;
    change(parameters);
    const auto sampling = pipeline.Begin(parameters);
    ASSERT_FALSE(sampling.ok()) << word;
    EXPECT_EQ(sampling.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(sampling.status().message(), HasSubstr(word));
  };
  expect_refused([](auto& p) { p.width_px = 13; }, "width_px must be a multiple of 2");
  expect_refused([](auto& p) { p.height_px = 0; }, "height_px must be a multiple of 2");
  expect_refused([](auto& p) { p.sampler = "none"; }, "sampler must be one of");
  expect_refused([](auto& p) { p.step_count = 0; }, "step_count must be 1 to 1000");
  expect_refused([](auto& p) { p.image_count = 0; }, "image_count");
  expect_refused([](auto& p) { p.denoising_start = 0.5f; }, "initial_latents must be one");
  expect_refused([](auto& p) { p.initial_latents.resize(1); }, "initial_latents must be one");
  expect_refused([](auto& p) { p.denoising_end = 0.01f; }, "leave none of the steps");
  expect_refused(
      [](auto& p) {
        p.denoising_start = 0.5f;
        p.initial_latents = {{.channels = 4, .height = 4, .width = 4, .values = {}}};
      },
      "initial_latents must have the size");
}

TEST_F(DiffusionPipelineTest, ARequestsTimestepSpacingGoesBeforeTheModels) {
  DiffusionPipeline pipeline = MakePipeline();
  parameters_.sampler = "euler";
  parameters_.step_count = 4;
  parameters_.timestep_spacing = "trailing";
  Finish(pipeline, *Begin(pipeline, parameters_));
  EXPECT_THAT(timesteps_, ElementsAre(999.0f, 749.0f, 499.0f, 249.0f));
  timesteps_.clear();
  parameters_.timestep_spacing.clear();
  Finish(pipeline, *Begin(pipeline, parameters_));
  EXPECT_THAT(timesteps_, ElementsAre(751.0f, 501.0f, 251.0f, 1.0f));
}

TEST_F(DiffusionPipelineTest, APartOfTheDenoisingEndsWithAWholeStep) {
  DiffusionPipeline pipeline = MakePipeline();
  parameters_.sampler = "dpmpp-sde";
  parameters_.step_count = 4;
  parameters_.timestep_spacing = "trailing";
  // Below the second step's first call and above its second.
  parameters_.denoising_end = 0.27f;
  const auto sampling = Begin(pipeline, parameters_);
  EXPECT_EQ(sampling->step_count(), 4);
}

}  // namespace
}  // namespace tightfit
