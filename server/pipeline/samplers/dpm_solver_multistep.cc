// DPM-Solver++ of second order, multistep, and its stochastic form (Lu et al. 2022): diffusers'
// DPMSolverMultistepScheduler with algorithm_type dpmsolver++ or sde-dpmsolver++, midpoint.
#include "server/pipeline/scheduled_sampler.h"
#include "server/pipeline/variance_preserving_level.h"

#include <cmath>
#include <utility>

namespace tightfit {
namespace {

class DpmSolverMultistep : public VariancePreservingSampler {
 public:
  DpmSolverMultistep(NoiseSchedule schedule, PredictionType type, bool stochastic, bool ends_clean)
      : VariancePreservingSampler(std::move(schedule.timesteps), type),
        sigmas_(std::move(schedule.sigmas)),
        stochastic_(stochastic),
        ends_clean_(ends_clean) {}

  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& noise) override {
    const VariancePreservingLevel from(sigmas_[call]);
    const VariancePreservingLevel to(sigmas_[call + 1]);
    const at::Tensor clean = CleanFromAlpha(type_, output, latents, from.alpha, from.sigma);
    const float h = to.lambda - from.lambda;
    const bool is_last = call == call_count() - 1;
    const bool first_order =
        !previous_clean_.defined() || (is_last && (ends_clean_ || call_count() < kFewSteps));
    at::Tensor slope;
    if (!first_order) {
      const VariancePreservingLevel before(sigmas_[call - 1]);
      const float ratio = (from.lambda - before.lambda) / h;
      slope = (clean - previous_clean_) * (1.0f / ratio);
    }
    previous_clean_ = clean;
    return stochastic_ ? Stochastic(latents, clean, slope, from, to, h, noise)
                       : Deterministic(latents, clean, slope, from, to, h);
  }

 private:
  using Level = VariancePreservingLevel;

  SignalAndNoise LevelOf(int32_t call) const override {
    const Level level(sigmas_[call]);
    return {level.alpha, level.sigma};
  }

  static at::Tensor Deterministic(const at::Tensor& latents, const at::Tensor& clean,
                                  const at::Tensor& slope, const Level& from, const Level& to,
                                  float h) {
    const float weight = to.alpha * (std::exp(-h) - 1.0f);
    at::Tensor next = latents * (to.sigma / from.sigma) - clean * weight;
    if (slope.defined()) next = next - slope * (0.5f * weight);
    return next;
  }

  static at::Tensor Stochastic(const at::Tensor& latents, const at::Tensor& clean,
                               const at::Tensor& slope, const Level& from, const Level& to, float h,
                               LatentNoise& noise) {
    const float weight = to.alpha * (1.0f - std::exp(-2.0f * h));
    at::Tensor next = latents * (to.sigma / from.sigma * std::exp(-h)) + clean * weight;
    if (slope.defined()) next = next + slope * (0.5f * weight);
    const float fresh = to.sigma * std::sqrt(1.0f - std::exp(-2.0f * h));
    return next + noise.Draw().to(latents.device()) * fresh;
  }

  const std::vector<float> sigmas_;
  const bool stochastic_;
  const bool ends_clean_;
  at::Tensor previous_clean_;
};

Result<std::unique_ptr<Sampler>> Make(const SchedulerConfig& config, int32_t step_count,
                                      SigmaSpacing spacing, bool stochastic) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  TF_ASSIGN_OR_RETURN(NoiseSchedule schedule, MakeMultistepSchedule(config, step_count, spacing));
  return std::unique_ptr<Sampler>(std::make_unique<DpmSolverMultistep>(
      std::move(schedule), type, stochastic, config.final_sigmas_type == "zero"));
}

}  // namespace

Result<std::unique_ptr<Sampler>> MakeDpmSolver2M(const SchedulerConfig& config,
                                                 int32_t step_count) {
  return Make(config, step_count, SigmaSpacing::kTimesteps, /*stochastic=*/false);
}

Result<std::unique_ptr<Sampler>> MakeDpmSolver2MKarras(const SchedulerConfig& config,
                                                       int32_t step_count) {
  return Make(config, step_count, SigmaSpacing::kKarras, /*stochastic=*/false);
}

Result<std::unique_ptr<Sampler>> MakeDpmSolver2MSdeKarras(const SchedulerConfig& config,
                                                          int32_t step_count) {
  return Make(config, step_count, SigmaSpacing::kKarras, /*stochastic=*/true);
}

}  // namespace tightfit
