// Euler's method with fresh noise after every step: diffusers' EulerAncestralDiscreteScheduler.
#include "server/pipeline/data_prediction.h"
#include "server/pipeline/noise_schedule.h"
#include "server/pipeline/samplers.h"

#include <cmath>
#include <utility>

namespace tightfit {
namespace {

class EulerAncestral : public Sampler {
 public:
  EulerAncestral(NoiseSchedule schedule, PredictionType type)
      : schedule_(std::move(schedule)), type_(type) {}

  int32_t call_count() const override { return static_cast<int32_t>(schedule_.timesteps.size()); }
  float timestep(int32_t call) const override { return schedule_.timesteps[call]; }
  float init_noise_sigma() const override { return schedule_.init_noise_sigma; }

  at::Tensor ScaleModelInput(const at::Tensor& latents, int32_t call) const override {
    const float sigma = schedule_.sigmas[call];
    return latents / std::sqrt(sigma * sigma + 1.0f);
  }

  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& noise) override {
    const float from = schedule_.sigmas[call];
    const float to = schedule_.sigmas[call + 1];
    // The step goes below `to` by as much as the noise added after it brings back.
    const float up = std::sqrt(to * to * (from * from - to * to) / (from * from));
    const float down = std::sqrt(to * to - up * up);
    const at::Tensor clean = CleanFromSigma(type_, output, latents, from);
    const at::Tensor derivative = (latents - clean) / from;
    const at::Tensor moved = latents + derivative * (down - from);
    return moved + noise.Draw().to(latents.device()) * up;
  }

 private:
  const NoiseSchedule schedule_;
  const PredictionType type_;
};

}  // namespace

Result<std::unique_ptr<Sampler>> MakeEulerAncestral(const SchedulerConfig& config,
                                                    int32_t step_count) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  // diffusers' scheduler of this name has no choice of a last level.
  SchedulerConfig ending_clean = config;
  ending_clean.final_sigmas_type = "zero";
  TF_ASSIGN_OR_RETURN(NoiseSchedule schedule, MakeNoiseSchedule(ending_clean, step_count));
  return std::unique_ptr<Sampler>(std::make_unique<EulerAncestral>(std::move(schedule), type));
}

}  // namespace tightfit
