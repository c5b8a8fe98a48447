// Euler's method on the probability flow ODE: diffusers' EulerDiscreteScheduler without churn.
#include "server/pipeline/scheduled_sampler.h"

#include <cmath>
#include <utility>

namespace tightfit {
namespace {

class Euler : public SigmaSampler {
 public:
  Euler(NoiseSchedule schedule, PredictionType type) : SigmaSampler(std::move(schedule), type) {}

  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& /*noise*/) override {
    const float sigma = schedule_.sigmas[call];
    const float sigma_next = schedule_.sigmas[call + 1];
    // Through the predicted clean latents and back, as diffusers does: the detour rounds.
    const at::Tensor clean = CleanFromSigma(type_, output, latents, sigma);
    const at::Tensor derivative = (latents - clean) / sigma;
    return latents + derivative * (sigma_next - sigma);
  }
};

Result<std::unique_ptr<Sampler>> Make(const SchedulerConfig& config, int32_t step_count,
                                      SigmaSpacing spacing) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  TF_ASSIGN_OR_RETURN(NoiseSchedule schedule, MakeNoiseSchedule(config, step_count, spacing));
  return std::unique_ptr<Sampler>(std::make_unique<Euler>(std::move(schedule), type));
}

}  // namespace

Result<std::unique_ptr<Sampler>> MakeEuler(const SchedulerConfig& config, int32_t step_count) {
  return Make(config, step_count, SigmaSpacing::kTimesteps);
}

Result<std::unique_ptr<Sampler>> MakeEulerKarras(const SchedulerConfig& config,
                                                 int32_t step_count) {
  return Make(config, step_count, SigmaSpacing::kKarras);
}

Result<std::unique_ptr<Sampler>> MakeEulerExponential(const SchedulerConfig& config,
                                                      int32_t step_count) {
  return Make(config, step_count, SigmaSpacing::kExponential);
}

}  // namespace tightfit
