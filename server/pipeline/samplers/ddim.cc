// DDIM (Song et al. 2020) without added noise: diffusers' DDIMScheduler with eta = 0.
#include "server/pipeline/scheduled_sampler.h"

#include <cmath>
#include <utility>

namespace tightfit {
namespace {

class Ddim : public VariancePreservingSampler {
 public:
  Ddim(const std::vector<int32_t>& timesteps, std::vector<float> alphas,
       const SchedulerConfig& config, PredictionType type)
      : VariancePreservingSampler({timesteps.begin(), timesteps.end()}, type),
        alphas_(std::move(alphas)),
        stride_(config.num_train_timesteps / static_cast<int32_t>(timesteps_.size())),
        final_alpha_(config.set_alpha_to_one.value_or(true) ? 1.0f : alphas_.front()),
        clip_range_(config.clip_sample_range) {}

  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& /*noise*/) override {
    const auto here = static_cast<int32_t>(timesteps_[call]);
    const int32_t before = here - stride_;
    const float alpha = alphas_[here];
    const float alpha_before = before >= 0 ? alphas_[before] : final_alpha_;
    const float signal = std::sqrt(alpha);
    const float sigma = std::sqrt(1.0f - alpha);
    const at::Tensor clean =
        Clipped(CleanFromAlpha(type_, output, latents, signal, sigma), clip_range_);
    // The noise is what the UNet said, also where the clean latents were clipped.
    const at::Tensor epsilon =
        type_ == PredictionType::kEpsilon ? output : output * signal + latents * sigma;
    return clean * std::sqrt(alpha_before) + epsilon * std::sqrt(1.0f - alpha_before);
  }

 private:
  SignalAndNoise LevelOf(int32_t call) const override {
    return LevelOfAlpha(alphas_[static_cast<size_t>(timesteps_[call])]);
  }

  const std::vector<float> alphas_;  // of training
  const int32_t stride_;             // from one timestep to the one before it
  const float final_alpha_;
  const double clip_range_;
};

}  // namespace

Result<std::unique_ptr<Sampler>> MakeDdim(const SchedulerConfig& config, int32_t step_count) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  TF_ASSIGN_OR_RETURN(const std::vector<int32_t> timesteps,
                      MakeDiscreteTimesteps(config, step_count));
  TF_ASSIGN_OR_RETURN(std::vector<float> alphas, TrainingAlphas(config));
  if (config.rescale_betas_zero_snr && type == PredictionType::kEpsilon) {
    return Status(StatusCode::kUnimplemented, "UNSUPPORTED_SCHEDULER",
                  "ddim cannot begin at zero signal with a model that predicts noise; use euler");
  }
  return std::unique_ptr<Sampler>(
      std::make_unique<Ddim>(timesteps, std::move(alphas), config, type));
}

}  // namespace tightfit
