// UniPC of second order (Zhao et al. 2023): diffusers' UniPCMultistepScheduler with solver_type
// bh2, predicting the clean latents. Each step begins by correcting the one before it.
#include "server/pipeline/scheduled_sampler.h"
#include "server/pipeline/variance_preserving_level.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tightfit {
namespace {

class UniPc : public VariancePreservingSampler {
 public:
  UniPc(NoiseSchedule schedule, PredictionType type)
      : VariancePreservingSampler(std::move(schedule.timesteps), type),
        sigmas_(std::move(schedule.sigmas)) {}

  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& /*noise*/) override {
    const Level here(sigmas_[call]);
    const at::Tensor clean = CleanFromAlpha(type_, output, latents, here.alpha, here.sigma);
    start_ = steps_taken_ == 0 ? latents : Corrected(clean, call);
    older_clean_ = clean_;
    clean_ = clean;
    // The last step has nothing after it to lean on.
    ++steps_taken_;
    order_ = std::min({kOrder, call_count() - call, steps_taken_});
    return Predicted(call);
  }

 private:
  using Level = VariancePreservingLevel;

  SignalAndNoise LevelOf(int32_t call) const override {
    const Level level(sigmas_[call]);
    return {level.alpha, level.sigma};
  }

  static constexpr int32_t kOrder = 2;

  // What step `call` predicts from `start_`.
  at::Tensor Predicted(int32_t call) const {
    const Level from(sigmas_[call]);
    const Level to(sigmas_[call + 1]);
    const float growth = std::expm1(from.lambda - to.lambda);
    at::Tensor next = start_ * (to.sigma / from.sigma) - clean_ * (to.alpha * growth);
    if (order_ == 2) next = next - Slope(call, from, to) * 0.5f * (to.alpha * growth);
    return next;
  }

  // Step `call` - 1 again, now that the clean latents at its end are known.
  at::Tensor Corrected(const at::Tensor& clean, int32_t call) const {
    const Level from(sigmas_[call - 1]);
    const Level to(sigmas_[call]);
    const float h = from.lambda - to.lambda;
    const float growth = std::expm1(h);
    float weight_of_new = 0.5f;
    at::Tensor correction;
    if (order_ == 2) {
      // Two weights that integrate polynomials of first order exactly.
      const float ratio =
          (Level(sigmas_[call - 2]).lambda - from.lambda) / (to.lambda - from.lambda);
      const float first = growth / h - 1.0f;
      const float second = first / h - 0.5f;
      const float sum = first / growth;
      const float weight_of_slope = (second * 2.0f / growth - sum) / (ratio - 1.0f);
      weight_of_new = sum - weight_of_slope;
      correction = Slope(call - 1, from, to) * weight_of_slope + (clean - clean_) * weight_of_new;
    } else {
      correction = (clean - clean_) * weight_of_new;
    }
    return start_ * (to.sigma / from.sigma) - clean_ * (to.alpha * growth) -
           correction * (to.alpha * growth);
  }

  // How the clean latents changed before `call`, per step from `from` to `to`.
  at::Tensor Slope(int32_t call, const Level& from, const Level& to) const {
    const float ratio = (Level(sigmas_[call - 1]).lambda - from.lambda) / (to.lambda - from.lambda);
    return (older_clean_ - clean_) / ratio;
  }

  const std::vector<float> sigmas_;
  // Of the last step: where it began, the clean latents there and one step before, its order.
  at::Tensor start_;
  at::Tensor clean_;
  at::Tensor older_clean_;
  int32_t order_ = 1;
  int32_t steps_taken_ = 0;
};

}  // namespace

Result<std::unique_ptr<Sampler>> MakeUniPc(const SchedulerConfig& config, int32_t step_count) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  TF_ASSIGN_OR_RETURN(NoiseSchedule schedule, MakeMultistepSchedule(config, step_count));
  return std::unique_ptr<Sampler>(std::make_unique<UniPc>(std::move(schedule), type));
}

}  // namespace tightfit
