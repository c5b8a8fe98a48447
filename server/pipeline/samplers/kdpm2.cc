// The midpoint method of Karras et al. 2022 (k-diffusion's sample_dpm_2) and its form with fresh
// noise (sample_dpm_2_ancestral): each step but the last asks the UNet a second time in its middle
// and goes all the way as told there. diffusers' KDPM2DiscreteScheduler and
// KDPM2AncestralDiscreteScheduler.
#include "server/pipeline/scheduled_sampler.h"
#include "server/pipeline/sigma_spacing.h"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

// Call 2k begins step k, call 2k + 1 ends it; the last step, to a level of 0, has no second call.
class Kdpm2 : public SigmaSampler {
 public:
  Kdpm2(NoiseSchedule schedule, const std::vector<float>& training_sigmas, PredictionType type,
        bool is_ancestral)
      : SigmaSampler(std::move(schedule), type), is_ancestral_(is_ancestral) {
    for (size_t step = 0; step < schedule_.timesteps.size(); ++step) {
      calls_.push_back({.timestep = schedule_.timesteps[step], .sigma = schedule_.sigmas[step]});
      if (step + 1 == schedule_.timesteps.size()) break;
      // Half way in the logarithm.
      const double sigma = std::sqrt(schedule_.sigmas[step] * EndOf(step).down);
      const double timestep = TimestepOfSigma(sigma, training_sigmas);
      calls_.push_back({.timestep = static_cast<float>(timestep), .sigma = sigma});
    }
  }

  int32_t call_count() const override { return static_cast<int32_t>(calls_.size()); }
  int32_t calls_per_step() const override { return 2; }
  float timestep(int32_t call) const override { return calls_[call].timestep; }
  // Latents in the middle of a step are of no use to another part of the denoising.
  float step_timestep(int32_t call) const override { return schedule_.timesteps[call / 2]; }
  at::Tensor ScaleModelInput(const at::Tensor& latents, int32_t call) const override {
    const double sigma = calls_[call].sigma;
    return latents / std::sqrt(sigma * sigma + 1.0);
  }

  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& noise) override {
    const double from = schedule_.sigmas[call / 2];
    const double sigma = calls_[call].sigma;
    const at::Tensor clean = CleanFromSigma(type_, output, latents, static_cast<float>(sigma));
    if (call == call_count() - 1) return clean;
    if (call % 2 == 0) {
      start_ = latents;
      const double kept = calls_[call + 1].sigma / from;
      clean_ = clean * (1.0 - kept);
      return latents * kept + clean_;
    }
    // start + derivative * (down - from), the derivative being that of the middle's latents. What
    // those have of the start is taken out of it, since it may be far larger than the result.
    const End end = EndOf(call / 2);
    const at::Tensor moved =
        start_ * (end.down / from) + (clean_ - clean) * ((end.down - from) / sigma);
    return is_ancestral_ ? moved + noise.Draw().to(latents.device()) * end.up : moved;
  }

 private:
  struct Call {
    float timestep;
    double sigma;
  };
  // Where a step goes, and what noise added after it brings back.
  struct End {
    double down;
    double up;
  };

  // As diffusers, what a mask keeps is at the step's end already while the UNet sees its middle.
  int32_t LevelOf(int32_t call) const override { return (call + 1) / 2; }

  End EndOf(size_t step) const {
    const double from = schedule_.sigmas[step];
    const double to = schedule_.sigmas[step + 1];
    if (!is_ancestral_) return {.down = to, .up = 0.0};
    const double down = to * to / from;
    return {.down = down, .up = std::sqrt(to * to - down * down)};
  }

  const bool is_ancestral_;
  std::vector<Call> calls_;
  // Of the step that waits for its second call: where it began, and what the clean latents there
  // are of its middle.
  at::Tensor start_;
  at::Tensor clean_;
};

Result<std::unique_ptr<Sampler>> MakeKdpm2Of(const SchedulerConfig& config, int32_t step_count,
                                             SigmaSpacing spacing, bool is_ancestral) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  // diffusers' schedulers of these names have no choice of a last level.
  TF_ASSIGN_OR_RETURN(NoiseSchedule schedule,
                      MakeNoiseSchedule(EndingClean(config), step_count, spacing));
  if (spacing == SigmaSpacing::kKarras) {
    // Unlike Euler's.
    for (float& timestep : schedule.timesteps) timestep = std::nearbyint(timestep);
  }
  TF_ASSIGN_OR_RETURN(const std::vector<float> training_sigmas, TrainingSigmas(config));
  return std::unique_ptr<Sampler>(
      std::make_unique<Kdpm2>(std::move(schedule), training_sigmas, type, is_ancestral));
}

}  // namespace

Result<std::unique_ptr<Sampler>> MakeKdpm2(const SchedulerConfig& config, int32_t step_count) {
  return MakeKdpm2Of(config, step_count, SigmaSpacing::kTimesteps, /*is_ancestral=*/false);
}

Result<std::unique_ptr<Sampler>> MakeKdpm2Karras(const SchedulerConfig& config,
                                                 int32_t step_count) {
  return MakeKdpm2Of(config, step_count, SigmaSpacing::kKarras, /*is_ancestral=*/false);
}

Result<std::unique_ptr<Sampler>> MakeKdpm2Ancestral(const SchedulerConfig& config,
                                                    int32_t step_count) {
  return MakeKdpm2Of(config, step_count, SigmaSpacing::kTimesteps, /*is_ancestral=*/true);
}

Result<std::unique_ptr<Sampler>> MakeKdpm2AncestralKarras(const SchedulerConfig& config,
                                                          int32_t step_count) {
  return MakeKdpm2Of(config, step_count, SigmaSpacing::kKarras, /*is_ancestral=*/true);
}

}  // namespace tightfit
