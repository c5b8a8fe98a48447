#include "server/pipeline/samplers.h"

#include "server/pipeline/denoising_window.h"
#include "tests/unit/pipeline/sampler_golden.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

at::Tensor FromJson(const nlohmann::json& values, at::IntArrayRef shape) {
  const auto floats = values.get<std::vector<float>>();
  return at::tensor(at::ArrayRef<float>(floats)).reshape(shape);
}

double RelativeError(const at::Tensor& actual, const at::Tensor& expected) {
  return ((actual - expected).abs().max() / expected.abs().max()).item<double>();
}

// The function in the UNet's place, as in make_sampler_golden.py.
at::Tensor PredictNoise(const at::Tensor& sample, float timestep) {
  return at::tanh(sample * 0.7 + 1e-3 * timestep);
}

at::Tensor Sample(Sampler& sampler, LatentNoise& noise) {
  at::Tensor latents = noise.Draw() * sampler.init_noise_sigma();
  for (int32_t call = 0; call < sampler.call_count(); ++call) {
    const at::Tensor input = sampler.ScaleModelInput(latents, call);
    latents = sampler.Step(PredictNoise(input, sampler.timestep(call)), latents, call, noise);
  }
  return latents;
}

TEST(SamplersTest, LatentsEqualDiffusersForEverySampler) {
  std::map<std::string, int> checked;
  for (const auto& golden : SamplerGolden().at("sampled")) {
    const std::string sampler_name = golden.at("sampler");
    const std::string config = golden.at("config");
    SCOPED_TRACE(sampler_name + " " + config);
    const auto shape = golden.at("shape").get<std::vector<int64_t>>();
    auto sampler = MakeSampler(sampler_name, GoldenConfig(config), golden.at("step_count"));
    ASSERT_TRUE(sampler.ok()) << sampler.status().ForLog();
    LatentNoise noise(golden.at("seed"), static_cast<int32_t>(shape[0]),
                      {.channels = shape[1], .height = shape[2], .width = shape[3]});
    EXPECT_LT(RelativeError(Sample(**sampler, noise), FromJson(golden.at("latents"), shape)), 1e-5);
    ++checked[sampler_name];
  }
  // A new row of the table needs rows in the golden file too.
  EXPECT_EQ(checked.size(), Samplers().size());
}

TEST(SamplersTest, OneStepMoreGivesOtherLatents) {
  for (const auto& golden : SamplerGolden().at("sampled")) {
    const auto shape = golden.at("shape").get<std::vector<int64_t>>();
    const int32_t step_count = golden.at("step_count");
    const std::string sampler_name = golden.at("sampler");
    SCOPED_TRACE(sampler_name + " " + golden.at("config").get<std::string>());
    auto sampler = MakeSampler(sampler_name, GoldenConfig(golden.at("config")), step_count + 1);
    ASSERT_TRUE(sampler.ok());
    LatentNoise noise(golden.at("seed"), static_cast<int32_t>(shape[0]),
                      {.channels = shape[1], .height = shape[2], .width = shape[3]});
    EXPECT_GT(RelativeError(Sample(**sampler, noise), FromJson(golden.at("latents"), shape)), 1e-5);
  }
}

TEST(SamplersTest, AnotherPredictionTypeGivesOtherLatents) {
  for (const SamplerInfo& info : Samplers()) {
    SchedulerConfig config;
    std::vector<at::Tensor> results;
    for (const char* type : {"epsilon", "v_prediction"}) {
      config.prediction_type = type;
      auto sampler = info.make(config, 6);
      ASSERT_TRUE(sampler.ok()) << info.name;
      LatentNoise noise(1, 1, {.channels = 4, .height = 4, .width = 4});
      results.push_back(Sample(**sampler, noise));
    }
    EXPECT_GT(RelativeError(results[0], results[1]), 1e-2) << info.name;
  }
}

TEST(SamplersTest, EveryStepCountGivesFiniteLatents) {
  for (const SamplerInfo& info : Samplers()) {
    for (const char* spacing : {"leading", "trailing", "linspace"}) {
      for (const int32_t step_count : {1, 2, 3, 15, 31, 50}) {
        SchedulerConfig config;
        config.timestep_spacing = spacing;
        auto sampler = info.make(config, step_count);
        ASSERT_TRUE(sampler.ok()) << info.name;
        LatentNoise noise(1, 1, {.channels = 4, .height = 2, .width = 2});
        EXPECT_TRUE(at::isfinite(Sample(**sampler, noise)).all().item<bool>())
            << info.name << " " << spacing << " " << step_count;
      }
    }
  }
}

TEST(SamplersTest, HeunCallsTheUnetTwiceForEveryStepButTheLast) {
  auto sampler = MakeSampler("heun", SchedulerConfig{}, 10);
  ASSERT_TRUE(sampler.ok());
  EXPECT_EQ((*sampler)->call_count(), 19);
  EXPECT_EQ((*sampler)->timestep(1), (*sampler)->timestep(2));
}

TEST(SamplersTest, SinglestepSolversCallTheUnetTwiceForEveryStepButTheLast) {
  for (const char* name : {"dpmpp-sde", "dpmpp-sde-karras", "dpmpp-2s-a", "dpmpp-2s-a-karras"}) {
    auto sampler = MakeSampler(name, SchedulerConfig{}, 10);
    ASSERT_TRUE(sampler.ok()) << name;
    EXPECT_EQ((*sampler)->call_count(), 19) << name;
    EXPECT_EQ((*sampler)->calls_per_step(), 2) << name;
    for (int32_t call = 1; call < 19; ++call) {
      EXPECT_LE((*sampler)->timestep(call), (*sampler)->timestep(call - 1)) << name << " " << call;
    }
    // A part of the denoising begins and ends with whole steps.
    EXPECT_EQ((*sampler)->step_timestep(1), (*sampler)->timestep(0)) << name;
    EXPECT_EQ((*sampler)->step_timestep(2), (*sampler)->timestep(2)) << name;
  }
}

TEST(SamplersTest, Kdpm2AsksAgainInTheMiddleOfEveryStepButTheLast) {
  for (const char* name : {"kdpm2", "kdpm2-karras", "kdpm2-a", "kdpm2-a-karras"}) {
    auto sampler = MakeSampler(name, SchedulerConfig{}, 10);
    ASSERT_TRUE(sampler.ok()) << name;
    EXPECT_EQ((*sampler)->call_count(), 19) << name;
    EXPECT_EQ((*sampler)->calls_per_step(), 2) << name;
    for (int32_t call = 1; call < 19; call += 2) {
      EXPECT_LT((*sampler)->timestep(call), (*sampler)->timestep(call - 1)) << name << " " << call;
      // Karras' timesteps are whole numbers, those between them are not.
      EXPECT_GT((*sampler)->timestep(call), (*sampler)->timestep(call + 1) - 0.6f) << name;
      EXPECT_EQ((*sampler)->step_timestep(call), (*sampler)->timestep(call - 1)) << name;
      EXPECT_EQ((*sampler)->step_timestep(call + 1), (*sampler)->timestep(call + 1)) << name;
    }
  }
}

TEST(SamplersTest, WhatAMaskKeepsIsAtTheEndOfAStepWhereKdpm2AsksInItsMiddle) {
  for (const char* name : {"kdpm2", "kdpm2-karras", "kdpm2-a", "kdpm2-a-karras"}) {
    auto sampler = MakeSampler(name, SchedulerConfig{}, 6);
    ASSERT_TRUE(sampler.ok()) << name;
    const auto noise_at = [&](int32_t call) {
      return (*sampler)->AddNoise(at::zeros({1}), at::ones({1}), call).item<float>();
    };
    for (int32_t call = 1; call < 11; call += 2) {
      EXPECT_EQ(noise_at(call), noise_at(call + 1)) << name << " " << call;
      EXPECT_LT(noise_at(call), noise_at(call - 1)) << name << " " << call;
    }
  }
}

TEST(SamplersTest, PndmCallsTheUnetOnceMoreThanItHasSteps) {
  for (const auto& [steps, timesteps] : std::vector<std::pair<int32_t, std::vector<float>>>{
           {5, {801, 601, 601, 401, 201, 1}}, {2, {501, 1, 1}}, {1, {1}}}) {
    auto sampler = MakeSampler("pndm", SchedulerConfig{}, steps);
    ASSERT_TRUE(sampler.ok()) << steps;
    std::vector<float> told;
    for (int32_t call = 0; call < (*sampler)->call_count(); ++call) {
      told.push_back((*sampler)->timestep(call));
    }
    EXPECT_EQ(told, timesteps) << steps;
    EXPECT_EQ((*sampler)->calls_per_step(), 1);
  }
}

std::vector<float> StepTimesteps(const Sampler& sampler) {
  std::vector<float> timesteps;
  for (int32_t call = 0; call < sampler.call_count(); ++call) {
    timesteps.push_back(sampler.step_timestep(call));
  }
  return timesteps;
}

// diffusers cuts its timesteps from the front: the repeated one is lost, and a step more than the
// strength says is done.
TEST(SamplersTest, PndmOverAnImageMakesTheLastCallsOfItsLongerList) {
  auto sampler = MakeSampler("pndm", SchedulerConfig{}, 10);
  ASSERT_TRUE(sampler.ok());
  const auto first = FirstCallOfStrength(10, (*sampler)->calls_per_step(), 0.3);
  ASSERT_TRUE(first.ok());
  std::vector<float> timesteps = StepTimesteps(**sampler);
  timesteps.erase(timesteps.begin(), timesteps.begin() + *first);
  EXPECT_THAT(timesteps, ElementsAre(301, 201, 101, 1));
}

TEST(SamplersTest, APartOfTheDenoisingHasWholeStepsOfKdpm2) {
  for (const char* name : {"kdpm2", "kdpm2-karras", "kdpm2-a", "kdpm2-a-karras"}) {
    auto sampler = MakeSampler(name, SchedulerConfig{}, 10);
    ASSERT_TRUE(sampler.ok()) << name;
    for (const float share : {0.3f, 0.36f, 0.8f}) {
      const std::vector<float> timesteps = StepTimesteps(**sampler);
      const auto front = MakeDenoisingWindow(timesteps, 1000, 2, 0.0f, share);
      const auto back = MakeDenoisingWindow(timesteps, 1000, 2, share, 1.0f);
      ASSERT_TRUE(front.ok() && back.ok()) << name << " " << share;
      EXPECT_EQ(front->end % 2, 0) << name << " " << share;
      EXPECT_EQ(front->end, back->begin) << name << " " << share;
    }
  }
  const std::vector<float> of_heun = StepTimesteps(**MakeSampler("heun", SchedulerConfig{}, 10));
  EXPECT_EQ(MakeDenoisingWindow(of_heun, 1000, 2, 0.0f, 0.3f)->end % 2, 1) << "control";
}

// As diffusers counts them, whose oracle is test_parity_image_inputs.py: the warm-up of a part is
// that of its own second call, which goes back to where the first began.
TEST(SamplersTest, PndmGoesBackInTheSecondCallOfAnyPart) {
  const at::Tensor ones = at::ones({1, 4, 2, 2});
  const at::Tensor output = at::full({1, 4, 2, 2}, 0.25f);
  LatentNoise noise(1, 1, {.channels = 4, .height = 2, .width = 2});
  for (const int32_t begin : {0, 4}) {
    auto sampler = MakeSampler("pndm", SchedulerConfig{}, 10);
    ASSERT_TRUE(sampler.ok());
    const at::Tensor after_first = (*sampler)->Step(output, ones, begin, noise);
    // What is handed to it then does not count.
    auto other = MakeSampler("pndm", SchedulerConfig{}, 10);
    ASSERT_TRUE(other.ok());
    (*other)->Step(output, ones, begin, noise);
    EXPECT_TRUE(at::equal((*sampler)->Step(output, after_first, begin + 1, noise),
                          (*other)->Step(output, ones * 7, begin + 1, noise)));
    EXPECT_FALSE(at::equal((*sampler)->Step(output, after_first, begin + 2, noise),
                           (*other)->Step(output, ones * 7, begin + 2, noise)))
        << "control";
  }
}

TEST(SamplersTest, OnlySamplersWithLevelsOfTheirOwnIgnoreTheSpacing) {
  for (const SamplerInfo& info : Samplers()) {
    std::vector<at::Tensor> results;
    for (const char* spacing : {"leading", "trailing", "linspace"}) {
      SchedulerConfig config;
      config.timestep_spacing = spacing;
      auto sampler = info.make(config, 6);
      ASSERT_TRUE(sampler.ok()) << info.name;
      LatentNoise noise(1, 1, {.channels = 4, .height = 4, .width = 4});
      results.push_back(Sample(**sampler, noise));
    }
    const bool ignores = info.name == "dpmpp-2m-karras" || info.name == "dpmpp-2m-sde-karras" ||
                         info.name == "deis-karras" || info.name == "lcm";
    for (const size_t other : {1, 2}) {
      EXPECT_EQ(at::equal(results[0], results[other]), ignores) << info.name << " " << other;
    }
  }
}

TEST(SamplersTest, SaysWhatASamplerCannotDo) {
  SchedulerConfig zero_snr;
  zero_snr.rescale_betas_zero_snr = true;
  for (const char* name : {"ddim", "lcm", "ddpm", "pndm"}) {
    const auto sampler = MakeSampler(name, zero_snr, 4);
    EXPECT_EQ(sampler.status().code(), StatusCode::kUnimplemented) << name;
    EXPECT_THAT(sampler.status().message(), HasSubstr("use euler")) << name;
  }
  // Its outputs of several timesteps are one sum, which says nothing where no signal is.
  zero_snr.prediction_type = "v_prediction";
  EXPECT_EQ(MakeSampler("pndm", zero_snr, 4).status().code(), StatusCode::kUnimplemented);
  EXPECT_TRUE(MakeSampler("ddpm", zero_snr, 4).ok());
  const auto many = MakeSampler("lcm", SchedulerConfig{}, 51);
  EXPECT_EQ(many.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(many.status().message(), HasSubstr("1 to 50"));
  SchedulerConfig other;
  other.prediction_type = "sample";
  for (const SamplerInfo& info : Samplers()) {
    EXPECT_EQ(info.make(other, 4).status().code(), StatusCode::kUnimplemented) << info.name;
  }
}

TEST(SamplersTest, NamesAreThoseThatUsersKnow) {
  EXPECT_THAT(SamplerNames(),
              ElementsAre("euler", "euler-karras", "euler-exponential", "euler-a", "heun", "ddim",
                          "dpmpp-2m", "dpmpp-2m-karras", "dpmpp-2m-sde-karras", "dpmpp-sde",
                          "dpmpp-sde-karras", "dpmpp-2s-a", "dpmpp-2s-a-karras", "dpmpp-3m-sde",
                          "dpmpp-3m-sde-karras", "kdpm2", "kdpm2-karras", "kdpm2-a",
                          "kdpm2-a-karras", "deis", "deis-karras", "unipc", "pndm", "ddpm", "lcm"));
}

TEST(SamplersTest, RefusesAnUnknownNameWithTheListOfKnownOnes) {
  const auto sampler = MakeSampler("dpm++", SchedulerConfig{}, 4);
  ASSERT_FALSE(sampler.ok());
  EXPECT_EQ(sampler.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(sampler.status().message(),
              HasSubstr("euler, euler-karras, euler-exponential, euler-a, heun"));
}

TEST(LatentNoiseTest, EqualsTorchRandnOfEachImagesOwnSeed) {
  const auto& golden = SamplerGolden().at("sampled").at(0);
  const auto shape = golden.at("shape").get<std::vector<int64_t>>();
  LatentNoise noise(golden.at("seed"), static_cast<int32_t>(shape[0]),
                    {.channels = shape[1], .height = shape[2], .width = shape[3]});
  // CPUs without AVX2 differ from those with it by up to 2.2e-6.
  EXPECT_LT(RelativeError(noise.Draw(), FromJson(SamplerGolden().at("noise"), shape)), 1e-5);
}

TEST(LatentNoiseTest, AnImageDoesNotDependOnTheOthers) {
  const LatentShape shape{.channels = 4, .height = 3, .width = 5};
  LatentNoise three(40, 3, shape);
  LatentNoise last(42, 1, shape);
  for (int draw = 0; draw < 2; ++draw) {
    EXPECT_TRUE(at::equal(three.Draw().narrow(0, 2, 1), last.Draw())) << "draw " << draw;
  }
}

TEST(LatentNoiseTest, DrawsDifferFromEachOther) {
  LatentNoise noise(1, 1, {.channels = 4, .height = 8, .width = 8});
  EXPECT_FALSE(at::equal(noise.Draw(), noise.Draw()));
}

TEST(LatentNoiseTest, TheLargestSeedWraps) {
  const LatentShape shape{.channels = 4, .height = 8, .width = 8};
  LatentNoise top(std::numeric_limits<int64_t>::max(), 2, shape);
  LatentNoise wrapped(std::numeric_limits<int64_t>::min(), 1, shape);
  EXPECT_TRUE(at::equal(top.Draw().narrow(0, 1, 1), wrapped.Draw()));
}

}  // namespace
}  // namespace tightfit
