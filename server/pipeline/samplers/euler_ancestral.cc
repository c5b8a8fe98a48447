// Euler's method with fresh noise after every step: diffusers' EulerAncestralDiscreteScheduler.
#include "server/pipeline/scheduled_sampler.h"

#include <cmath>
#include <utility>

namespace tightfit {
namespace {

class EulerAncestral : public SigmaSampler {
 public:
  EulerAncestral(NoiseSchedule schedule, PredictionType type)
      : SigmaSampler(std::move(schedule), type) {}

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
};

}  // namespace

Result<std::unique_ptr<Sampler>> MakeEulerAncestral(const SchedulerConfig& config,
                                                    int32_t step_count) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  // diffusers' scheduler of this name has no choice of a last level.
  TF_ASSIGN_OR_RETURN(NoiseSchedule schedule, MakeNoiseSchedule(EndingClean(config), step_count));
  return std::unique_ptr<Sampler>(std::make_unique<EulerAncestral>(std::move(schedule), type));
}

}  // namespace tightfit
