// DPM-Solver++ of second order, singlestep, with fresh noise (Lu et al. 2022, as k-diffusion's
// sample_dpmpp_sde and sample_dpmpp_2s_ancestral with eta = 1 and r = 1/2): each step but the last
// asks the UNet a second time at a level between its ends. The first is also diffusers'
// DPMSolverSDEScheduler.
#include "server/pipeline/scheduled_sampler.h"
#include "server/pipeline/sigma_spacing.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

// A step from one level to a lower one that goes below it by as much as the noise added after it
// brings back.
struct AncestralStep {
  AncestralStep(double from, double to)
      : up(std::min(to, std::sqrt(to * to * (from * from - to * to) / (from * from)))),
        down(std::sqrt(std::max(to * to - up * up, 0.0))) {}

  const double up;
  const double down;
};

// The exact solution between two levels if the clean latents stay what they are.
at::Tensor Moved(const at::Tensor& latents, const at::Tensor& clean, double from, double to) {
  const double kept = to / from;
  return latents * kept + clean * (1.0 - kept);
}

// Call 2k begins step k, call 2k + 1 ends it; the last step, to a level of 0, has no second call.
class DpmSolverSinglestep : public SigmaSampler {
 public:
  int32_t call_count() const override { return static_cast<int32_t>(calls_.size()); }
  int32_t calls_per_step() const override { return 2; }
  float timestep(int32_t call) const override { return calls_[call].timestep; }
  float step_timestep(int32_t call) const override { return schedule_.timesteps[call / 2]; }
  at::Tensor AddNoise(const at::Tensor& clean, const at::Tensor& noise,
                      int32_t call) const override {
    return clean + noise * calls_[call].sigma;
  }
  at::Tensor ScaleModelInput(const at::Tensor& latents, int32_t call) const override {
    const double sigma = calls_[call].sigma;
    return latents / std::sqrt(sigma * sigma + 1.0);
  }

  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& noise) override {
    const int32_t step = call / 2;
    const double from = schedule_.sigmas[step];
    const double to = schedule_.sigmas[step + 1];
    const at::Tensor clean =
        CleanFromSigma(type_, output, latents, static_cast<float>(calls_[call].sigma));
    if (call % 2 == 1) return Second(start_, clean, from, to, noise);
    if (call == call_count() - 1) return Moved(latents, clean, from, to);
    start_ = latents;
    return First(latents, clean, from, to, noise);
  }

 protected:
  using Middle = double (*)(double from, double to);

  // `middle`: the level of a step's second call.
  DpmSolverSinglestep(NoiseSchedule schedule, const std::vector<float>& training_sigmas,
                      PredictionType type, Middle middle)
      : SigmaSampler(std::move(schedule), type), middle_(middle) {
    for (size_t step = 0; step < schedule_.timesteps.size(); ++step) {
      calls_.push_back({.timestep = schedule_.timesteps[step], .sigma = schedule_.sigmas[step]});
      if (step + 1 == schedule_.timesteps.size()) break;
      const double to = schedule_.sigmas[step + 1];
      const double sigma = middle(schedule_.sigmas[step], to);
      const double timestep =
          sigma == to ? schedule_.timesteps[step + 1] : TimestepOfSigma(sigma, training_sigmas);
      calls_.push_back({.timestep = static_cast<float>(timestep), .sigma = sigma});
    }
  }

  double middle(double from, double to) const { return middle_(from, to); }

 private:
  struct Call {
    float timestep;
    double sigma;
  };

  // To the level in the middle, and from `start` to the end.
  virtual at::Tensor First(const at::Tensor& start, const at::Tensor& clean, double from, double to,
                           LatentNoise& noise) = 0;
  virtual at::Tensor Second(const at::Tensor& start, const at::Tensor& clean, double from,
                            double to, LatentNoise& noise) = 0;

  const Middle middle_;
  std::vector<Call> calls_;
  at::Tensor start_;  // of the step that waits for its second call
};

// Noise is a Brownian path over the levels: what is added at a step's end goes on from what was
// added in its middle. Two draws a step.
class DpmSolverSde : public DpmSolverSinglestep {
 public:
  DpmSolverSde(NoiseSchedule schedule, const std::vector<float>& training_sigmas,
               PredictionType type)
      : DpmSolverSinglestep(std::move(schedule), training_sigmas, type,
                            [](double from, double to) { return std::sqrt(from * to); }) {}

 private:
  at::Tensor First(const at::Tensor& start, const at::Tensor& clean, double from, double to,
                   LatentNoise& noise) override {
    const double half = middle(from, to);
    const AncestralStep step(from, half);
    half_noise_ = noise.Draw().to(start.device());
    return Moved(start, clean, from, step.down) + half_noise_ * step.up;
  }

  at::Tensor Second(const at::Tensor& start, const at::Tensor& clean, double from, double to,
                    LatentNoise& noise) override {
    const double half = middle(from, to);
    const AncestralStep step(from, to);
    const at::Tensor path = (half_noise_ * std::sqrt(from - half) +
                             noise.Draw().to(start.device()) * std::sqrt(half - to)) /
                            std::sqrt(from - to);
    return Moved(start, clean, from, step.down) + path * step.up;
  }

  at::Tensor half_noise_;
};

// Noise is added at a step's end alone. One draw a step.
class DpmSolver2SAncestral : public DpmSolverSinglestep {
 public:
  DpmSolver2SAncestral(NoiseSchedule schedule, const std::vector<float>& training_sigmas,
                       PredictionType type)
      : DpmSolverSinglestep(std::move(schedule), training_sigmas, type, &MiddleOf) {}

 private:
  // Half way, in the logarithm, to where an ancestral step goes: that is the level it ends at.
  static double MiddleOf(double /*from*/, double to) { return to; }

  at::Tensor First(const at::Tensor& start, const at::Tensor& clean, double from, double to,
                   LatentNoise& /*noise*/) override {
    return Moved(start, clean, from, middle(from, to));
  }

  at::Tensor Second(const at::Tensor& start, const at::Tensor& clean, double from, double to,
                    LatentNoise& noise) override {
    const AncestralStep step(from, to);
    return Moved(start, clean, from, step.down) + noise.Draw().to(start.device()) * step.up;
  }
};

template <typename Solver>
Result<std::unique_ptr<Sampler>> Make(const SchedulerConfig& config, int32_t step_count,
                                      SigmaSpacing spacing) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  // Neither k-diffusion nor diffusers has a choice of a last level here.
  TF_ASSIGN_OR_RETURN(NoiseSchedule schedule,
                      MakeNoiseSchedule(EndingClean(config), step_count, spacing));
  TF_ASSIGN_OR_RETURN(const std::vector<float> training_sigmas, TrainingSigmas(config));
  return std::unique_ptr<Sampler>(
      std::make_unique<Solver>(std::move(schedule), training_sigmas, type));
}

}  // namespace

Result<std::unique_ptr<Sampler>> MakeDpmSolverSde(const SchedulerConfig& config,
                                                  int32_t step_count) {
  return Make<DpmSolverSde>(config, step_count, SigmaSpacing::kTimesteps);
}

Result<std::unique_ptr<Sampler>> MakeDpmSolverSdeKarras(const SchedulerConfig& config,
                                                        int32_t step_count) {
  return Make<DpmSolverSde>(config, step_count, SigmaSpacing::kKarras);
}

Result<std::unique_ptr<Sampler>> MakeDpmSolver2SAncestral(const SchedulerConfig& config,
                                                          int32_t step_count) {
  return Make<DpmSolver2SAncestral>(config, step_count, SigmaSpacing::kTimesteps);
}

Result<std::unique_ptr<Sampler>> MakeDpmSolver2SAncestralKarras(const SchedulerConfig& config,
                                                                int32_t step_count) {
  return Make<DpmSolver2SAncestral>(config, step_count, SigmaSpacing::kKarras);
}

}  // namespace tightfit
