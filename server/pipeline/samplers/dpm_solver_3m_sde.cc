// DPM-Solver++ of third order, multistep, with fresh noise, as k-diffusion's sample_dpmpp_3m_sde
// with eta = 1: what user interfaces call "DPM++ 3M SDE". diffusers' DPMSolverMultistepScheduler of
// solver_order 3 and sde-dpmsolver++ is another method: its term of second differences has 1 less,
// so that it does not vanish with the step.
#include "server/pipeline/scheduled_sampler.h"

#include <cmath>
#include <memory>
#include <utility>

namespace tightfit {
namespace {

class DpmSolver3MSde : public SigmaSampler {
 public:
  DpmSolver3MSde(NoiseSchedule schedule, PredictionType type)
      : SigmaSampler(std::move(schedule), type) {}

  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& noise) override {
    const double from = schedule_.sigmas[call];
    const double to = schedule_.sigmas[call + 1];
    const at::Tensor clean = CleanFromSigma(type_, output, latents, schedule_.sigmas[call]);
    if (to == 0.0) return clean;
    const double h = std::log(from / to);
    // Two steps on one level: the second moves nothing.
    if (h == 0.0) return latents;
    const double fresh = -std::expm1(-2.0 * h);
    const double first = 1.0 - fresh / (2.0 * h);
    const double second = first / (2.0 * h) - 0.5;
    at::Tensor next = latents * (1.0 - fresh) + clean * fresh;
    // Differences of the clean latents, per step of this length.
    if (clean_.defined()) {
      at::Tensor slope = (clean - clean_) * (h / last_h_);
      if (older_clean_.defined()) {
        const at::Tensor older_slope = (clean_ - older_clean_) * (h / older_h_);
        const at::Tensor curve = (slope - older_slope) * (h / (last_h_ + older_h_));
        slope = slope + curve * (last_h_ / h);
        next = next - curve * second;
      }
      next = next + slope * first;
    }
    older_clean_ = clean_;
    older_h_ = last_h_;
    clean_ = clean;
    last_h_ = h;
    return next + noise.Draw().to(latents.device()) * (to * std::sqrt(fresh));
  }

 private:
  // Of the last two steps: the clean latents where they began, and their lengths in the logarithm
  // of the noise level.
  at::Tensor clean_;
  at::Tensor older_clean_;
  double last_h_ = 0.0;
  double older_h_ = 0.0;
};

Result<std::unique_ptr<Sampler>> MakeDpmSolver3M(const SchedulerConfig& config, int32_t step_count,
                                                 SigmaSpacing spacing) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  // k-diffusion ends clean, over the noise levels that Euler's method has.
  TF_ASSIGN_OR_RETURN(NoiseSchedule schedule,
                      MakeNoiseSchedule(EndingClean(config), step_count, spacing));
  return std::unique_ptr<Sampler>(std::make_unique<DpmSolver3MSde>(std::move(schedule), type));
}

}  // namespace

Result<std::unique_ptr<Sampler>> MakeDpmSolver3MSde(const SchedulerConfig& config,
                                                    int32_t step_count) {
  return MakeDpmSolver3M(config, step_count, SigmaSpacing::kTimesteps);
}

Result<std::unique_ptr<Sampler>> MakeDpmSolver3MSdeKarras(const SchedulerConfig& config,
                                                          int32_t step_count) {
  return MakeDpmSolver3M(config, step_count, SigmaSpacing::kKarras);
}

}  // namespace tightfit
