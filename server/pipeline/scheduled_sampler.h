// What samplers of one kind have in common; a sampler itself is one step.
#ifndef TIGHTFIT_SERVER_PIPELINE_SCHEDULED_SAMPLER_H_
#define TIGHTFIT_SERVER_PIPELINE_SCHEDULED_SAMPLER_H_

#include "server/pipeline/data_prediction.h"
#include "server/pipeline/noise_schedule.h"
#include "server/pipeline/samplers.h"

#include <cmath>
#include <utility>
#include <vector>

namespace tightfit {

// Multistep methods take the last of fewer steps than these by first order: diffusers' limit for
// `lower_order_final`.
inline constexpr int32_t kFewSteps = 15;

// Latents hold signal + sigma * noise; the UNet sees them at unit variance.
class SigmaSampler : public Sampler {
 public:
  int32_t call_count() const override { return static_cast<int32_t>(schedule_.timesteps.size()); }
  float timestep(int32_t call) const override { return schedule_.timesteps[LevelOf(call)]; }
  float init_noise_sigma() const override { return schedule_.init_noise_sigma; }
  at::Tensor AddNoise(const at::Tensor& clean, const at::Tensor& noise,
                      int32_t call) const override {
    return clean + noise * schedule_.sigmas[LevelOf(call)];
  }
  at::Tensor ScaleModelInput(const at::Tensor& latents, int32_t call) const override {
    const float sigma = schedule_.sigmas[LevelOf(call)];
    return latents / std::sqrt(sigma * sigma + 1.0f);
  }

 protected:
  SigmaSampler(NoiseSchedule schedule, PredictionType type)
      : schedule_(std::move(schedule)), type_(type) {}

  // The noise level that `call` begins at.
  virtual int32_t LevelOf(int32_t call) const { return call; }

  const NoiseSchedule schedule_;
  const PredictionType type_;
};

// Latents hold alpha * signal + sigma * noise and keep unit variance, so the UNet sees them as they
// are.
class VariancePreservingSampler : public Sampler {
 public:
  int32_t call_count() const override { return static_cast<int32_t>(timesteps_.size()); }
  float timestep(int32_t call) const override { return timesteps_[call]; }
  float init_noise_sigma() const override { return 1.0f; }
  at::Tensor AddNoise(const at::Tensor& clean, const at::Tensor& noise,
                      int32_t call) const override {
    const auto [alpha, sigma] = LevelOf(call);
    return clean * alpha + noise * sigma;
  }
  at::Tensor ScaleModelInput(const at::Tensor& latents, int32_t /*call*/) const override {
    return latents;
  }

 protected:
  VariancePreservingSampler(std::vector<float> timesteps, PredictionType type)
      : timesteps_(std::move(timesteps)), type_(type) {}

  // The noise level that `call` begins at.
  struct SignalAndNoise {
    float alpha;
    float sigma;
  };
  virtual SignalAndNoise LevelOf(int32_t call) const = 0;

  // Of what TrainingAlphas gives for one timestep.
  static SignalAndNoise LevelOfAlpha(float alpha) {
    return {std::sqrt(alpha), std::sqrt(1.0f - alpha)};
  }

  const std::vector<float> timesteps_;
  const PredictionType type_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_SCHEDULED_SAMPLER_H_
