// Heun's method: each of Euler's steps but the last is corrected by a second call of the UNet at
// its end. diffusers' HeunDiscreteScheduler.
#include "server/pipeline/scheduled_sampler.h"

#include <cmath>
#include <utility>

namespace tightfit {
namespace {

// Call 2k begins step k, call 2k + 1 corrects it.
class Heun : public SigmaSampler {
 public:
  Heun(NoiseSchedule schedule, PredictionType type, double clip_range)
      : SigmaSampler(std::move(schedule), type), clip_range_(clip_range) {}

  int32_t call_count() const override {
    return 2 * static_cast<int32_t>(schedule_.timesteps.size()) - 1;
  }
  int32_t calls_per_step() const override { return 2; }
  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& /*noise*/) override {
    const float sigma = schedule_.sigmas[LevelOf(call)];
    const at::Tensor clean = Clipped(CleanFromSigma(type_, output, latents, sigma), clip_range_);
    const at::Tensor derivative = (latents - clean) / sigma;
    if (call % 2 == 0) {
      step_ = schedule_.sigmas[LevelOf(call) + 1] - sigma;
      start_ = latents;
      first_derivative_ = derivative;
      return latents + derivative * step_;
    }
    return start_ + (first_derivative_ + derivative) / 2 * step_;
  }

 private:
  int32_t LevelOf(int32_t call) const override { return (call + 1) / 2; }

  const double clip_range_;
  // Of the step that waits for its correction.
  float step_ = 0.0f;
  at::Tensor start_;
  at::Tensor first_derivative_;
};

}  // namespace

Result<std::unique_ptr<Sampler>> MakeHeun(const SchedulerConfig& config, int32_t step_count) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  // diffusers' scheduler of this name has no choice of a last level.
  TF_ASSIGN_OR_RETURN(NoiseSchedule schedule, MakeNoiseSchedule(EndingClean(config), step_count));
  return std::unique_ptr<Sampler>(
      std::make_unique<Heun>(std::move(schedule), type, config.clip_sample_range));
}

}  // namespace tightfit
