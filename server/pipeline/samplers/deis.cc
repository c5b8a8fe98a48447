// DEIS of second order (Zhang and Chen 2022), multistep, the noise being a line in the logarithm of
// the noise level: diffusers' DEISMultistepScheduler.
#include "server/pipeline/scheduled_sampler.h"
#include "server/pipeline/variance_preserving_level.h"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

class Deis : public VariancePreservingSampler {
 public:
  Deis(NoiseSchedule schedule, PredictionType type)
      : VariancePreservingSampler(std::move(schedule.timesteps), type),
        sigmas_(std::move(schedule.sigmas)) {}

  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& /*noise*/) override {
    const Level from(sigmas_[call]);
    const Level to(sigmas_[call + 1]);
    const at::Tensor clean = CleanFromAlpha(type_, output, latents, from.alpha, from.sigma);
    const at::Tensor noise = (latents - clean * from.alpha) / from.sigma;
    const bool is_last_of_few = call == call_count() - 1 && call_count() < kFewSteps;
    // The same clean latents with the same noise at the next level: all that first order gives.
    at::Tensor next = clean * to.alpha + noise * to.sigma;
    if (older_noise_.defined() && !is_last_of_few) {
      const double weight = WeightOfOlder(sigmas_[call - 1], sigmas_[call], sigmas_[call + 1]);
      next = next + (older_noise_ - noise) * (to.alpha * weight);
    }
    older_noise_ = noise;
    return next;
  }

 private:
  using Level = VariancePreservingLevel;

  SignalAndNoise LevelOf(int32_t call) const override {
    const Level level(sigmas_[call]);
    return {level.alpha, level.sigma};
  }

  // The integral from `from` to `to` of what is 1 at the level `older`, 0 at `from`, and a line in
  // the logarithm.
  static double WeightOfOlder(double older, double from, double to) {
    if (older == from) return 0.0;
    return (to * (std::log(to / from) - 1.0) + from) / std::log(older / from);
  }

  const std::vector<float> sigmas_;
  at::Tensor older_noise_;  // in the latents before the last step
};

Result<std::unique_ptr<Sampler>> MakeDeisOf(const SchedulerConfig& config, int32_t step_count,
                                            SigmaSpacing spacing) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  // The logarithm of a clean level does not exist; diffusers' scheduler has no choice of it.
  SchedulerConfig ending_noisy = config;
  ending_noisy.final_sigmas_type = "sigma_min";
  TF_ASSIGN_OR_RETURN(NoiseSchedule schedule,
                      MakeMultistepSchedule(ending_noisy, step_count, spacing));
  return std::unique_ptr<Sampler>(std::make_unique<Deis>(std::move(schedule), type));
}

}  // namespace

Result<std::unique_ptr<Sampler>> MakeDeis(const SchedulerConfig& config, int32_t step_count) {
  return MakeDeisOf(config, step_count, SigmaSpacing::kTimesteps);
}

Result<std::unique_ptr<Sampler>> MakeDeisKarras(const SchedulerConfig& config, int32_t step_count) {
  return MakeDeisOf(config, step_count, SigmaSpacing::kKarras);
}

}  // namespace tightfit
