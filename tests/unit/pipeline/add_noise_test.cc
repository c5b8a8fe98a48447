// Sampler::AddNoise against what is known of every noise level.
#include "server/pipeline/samplers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

namespace tightfit {
namespace {

constexpr int32_t kSteps = 6;

std::unique_ptr<Sampler> SamplerOf(const SamplerInfo& info) {
  auto sampler = info.make(SchedulerConfig{}, kSteps);
  EXPECT_TRUE(sampler.ok()) << info.name;
  return std::move(*sampler);
}

double SignalAt(const Sampler& sampler, int32_t call) {
  return sampler.AddNoise(at::ones({1}), at::zeros({1}), call).item<double>();
}

double NoiseAt(const Sampler& sampler, int32_t call) {
  return sampler.AddNoise(at::zeros({1}), at::ones({1}), call).item<double>();
}

// The noise level that the training had at a timestep, in fp64.
double TrainingSigmaAt(int32_t timestep) {
  const double first = std::sqrt(0.00085);
  const double last = std::sqrt(0.012);
  double alpha = 1.0;
  for (int32_t t = 0; t <= timestep; ++t) {
    const double root = first + (last - first) * t / 999;
    alpha *= 1.0 - root * root;
  }
  return std::sqrt((1.0 - alpha) / alpha);
}

TEST(AddNoiseTest, IsAsNoisyAsTheUnetIsToldAtEveryCall) {
  for (const SamplerInfo& info : Samplers()) {
    const std::unique_ptr<Sampler> sampler = SamplerOf(info);
    int32_t checked = 0;
    for (int32_t call = 0; call < sampler->call_count(); ++call) {
      const float timestep = sampler->timestep(call);
      // Between whole timesteps, and where Karras' levels are told as the nearest of them, the
      // training had no such level.
      if (timestep != std::floor(timestep) || info.name.find("karras") != std::string::npos) {
        continue;
      }
      const double expected = TrainingSigmaAt(static_cast<int32_t>(timestep));
      EXPECT_NEAR(NoiseAt(*sampler, call) / SignalAt(*sampler, call), expected, 1e-4 * expected)
          << info.name << " " << call;
      ++checked;
    }
    EXPECT_GE(checked + (info.name.find("karras") != std::string::npos ? 1 : 0), 1) << info.name;
  }
}

// As diffusers, kdpm2 has no noise level for what a mask keeps in the middle of a step.
bool IsInTheMiddle(const SamplerInfo& info, int32_t call) {
  return info.name.starts_with("kdpm2") && !info.name.starts_with("kdpm2-a") && call % 2 == 1;
}

TEST(AddNoiseTest, IsAtUnitVarianceOnceTheUnetSeesIt) {
  for (const SamplerInfo& info : Samplers()) {
    const std::unique_ptr<Sampler> sampler = SamplerOf(info);
    for (int32_t call = 0; call < sampler->call_count(); ++call) {
      if (IsInTheMiddle(info, call)) continue;
      const double scale = sampler->ScaleModelInput(at::ones({1}), call).item<double>();
      EXPECT_NEAR(std::hypot(SignalAt(*sampler, call), NoiseAt(*sampler, call)) * scale, 1.0, 1e-5)
          << info.name << " " << call;
    }
  }
}

// Where the last call leads. As in diffusers, two end as noisy as training's first timestep is;
// ddim would without set_alpha_to_one.
at::Tensor EndOf(const SamplerInfo& info, const at::Tensor& clean, const at::Tensor& noise) {
  if (!info.name.starts_with("deis") && info.name != "pndm") return clean;
  const double sigma = TrainingSigmaAt(0);
  return (clean + noise * sigma) / std::hypot(1.0, sigma);
}

// Where the UNet's prediction is the very noise, deterministic samplers follow the line from noise
// to image: after each call the latents are the image, as noisy as the next call begins.
TEST(AddNoiseTest, IsWhereAStepWithThePerfectPredictionLeads) {
  // Those that add noise of their own leave the line, and heun's clipping is not asked for.
  const std::set<std::string_view> stochastic = {
      "euler-a",    "dpmpp-2m-sde-karras", "dpmpp-sde",    "dpmpp-sde-karras",
      "dpmpp-2s-a", "dpmpp-2s-a-karras",   "dpmpp-3m-sde", "dpmpp-3m-sde-karras",
      "kdpm2-a",    "kdpm2-a-karras",      "ddpm",         "lcm"};
  const LatentShape shape{.channels = 4, .height = 3, .width = 5};
  LatentNoise draws(7, 1, shape);
  const at::Tensor clean = draws.Draw();
  const at::Tensor noise = draws.Draw();
  const at::Tensor other_noise = draws.Draw();
  int32_t checked = 0;
  for (const SamplerInfo& info : Samplers()) {
    if (stochastic.contains(info.name)) continue;
    for (const int32_t first_step : {0, 1, 4}) {
      // Parts of it lie a step behind what the UNet is told, as in diffusers.
      if (info.name == "pndm" && first_step > 0) continue;
      const std::unique_ptr<Sampler> sampler = SamplerOf(info);
      const int32_t begin = first_step * sampler->calls_per_step();
      at::Tensor latents = sampler->AddNoise(clean, noise, begin);
      for (int32_t call = begin; call < sampler->call_count(); ++call) {
        latents = sampler->Step(noise, latents, call, draws);
        if (call + 1 == sampler->call_count()) break;
        if (IsInTheMiddle(info, call + 1)) continue;
        const at::Tensor expected = sampler->AddNoise(clean, noise, call + 1);
        EXPECT_TRUE(at::allclose(latents, expected, 1e-4, 1e-3)) << info.name << " " << call;
        EXPECT_FALSE(
            at::allclose(latents, sampler->AddNoise(clean, other_noise, call + 1), 1e-4, 1e-3))
            << "control";
      }
      EXPECT_TRUE(at::allclose(latents, EndOf(info, clean, noise), 1e-3, 5e-3))
          << info.name << " from " << begin;
      ++checked;
    }
  }
  EXPECT_EQ(checked, 3 * 12 + 1);
}

}  // namespace
}  // namespace tightfit
