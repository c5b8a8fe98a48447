// Multistep sampling of latent consistency models (Luo et al. 2023): diffusers' LCMScheduler.
#include "server/pipeline/scheduled_sampler.h"

#include <cmath>
#include <string>
#include <utility>

namespace tightfit {
namespace {

// Steps of the solver that such models were distilled from: diffusers' default.
constexpr int32_t kOriginalSteps = 50;
constexpr float kTimestepScaling = 10.0f;
constexpr float kSigmaData = 0.5f;

class Lcm : public VariancePreservingSampler {
 public:
  Lcm(std::vector<float> timesteps, std::vector<float> alphas, PredictionType type,
      double clip_range)
      : VariancePreservingSampler(std::move(timesteps), type),
        alphas_(std::move(alphas)),
        clip_range_(clip_range) {}

  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& noise) override {
    const float alpha = AlphaAt(call);
    const at::Tensor clean =
        Clipped(CleanFromAlpha(type_, output, latents, std::sqrt(alpha), std::sqrt(1.0f - alpha)),
                clip_range_);
    // The boundary condition: at timestep 0 the latents are clean already.
    const float scaled = timestep(call) * kTimestepScaling;
    const float variance = scaled * scaled + kSigmaData * kSigmaData;
    const at::Tensor denoised =
        clean * (scaled / std::sqrt(variance)) + latents * (kSigmaData * kSigmaData / variance);
    if (call == call_count() - 1) return denoised;
    const float next = AlphaAt(call + 1);
    return denoised * std::sqrt(next) + noise.Draw().to(latents.device()) * std::sqrt(1.0f - next);
  }

 private:
  SignalAndNoise LevelOf(int32_t call) const override { return LevelOfAlpha(AlphaAt(call)); }
  float AlphaAt(int32_t call) const { return alphas_[static_cast<size_t>(timesteps_[call])]; }

  const std::vector<float> alphas_;  // of training
  const double clip_range_;
};

}  // namespace

Result<std::unique_ptr<Sampler>> MakeLcm(const SchedulerConfig& config, int32_t step_count) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  const int32_t original = std::min(kOriginalSteps, config.num_train_timesteps);
  if (step_count < 1 || step_count > original) {
    return InvalidArgument("step_count of lcm must be 1 to " + std::to_string(original) +
                           ", but is " + std::to_string(step_count));
  }
  if (config.rescale_betas_zero_snr && type == PredictionType::kEpsilon) {
    return Status(StatusCode::kUnimplemented, "UNSUPPORTED_SCHEDULER",
                  "lcm cannot begin at zero signal with a model that predicts noise; use euler");
  }
  TF_ASSIGN_OR_RETURN(std::vector<float> alphas, TrainingAlphas(config));
  // Evenly spread over the original solver's timesteps, from the noisiest.
  const int32_t stride = config.num_train_timesteps / original;
  std::vector<float> timesteps;
  for (int32_t i = 0; i < step_count; ++i) {
    const auto index = static_cast<int32_t>(i * (static_cast<double>(original) / step_count));
    timesteps.push_back(static_cast<float>((original - index) * stride - 1));
  }
  return std::unique_ptr<Sampler>(std::make_unique<Lcm>(std::move(timesteps), std::move(alphas),
                                                        type, config.clip_sample_range));
}

}  // namespace tightfit
