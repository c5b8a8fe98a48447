// Ancestral sampling of the training's own chain (Ho et al. 2020), over fewer timesteps: diffusers'
// DDPMScheduler with variance_type fixed_small.
#include "server/pipeline/scheduled_sampler.h"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

class Ddpm : public VariancePreservingSampler {
 public:
  Ddpm(const std::vector<int32_t>& timesteps, std::vector<float> alphas, PredictionType type,
       double clip_range)
      : VariancePreservingSampler({timesteps.begin(), timesteps.end()}, type),
        alphas_(std::move(alphas)),
        clip_range_(clip_range) {}

  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& noise) override {
    const bool is_last = call == call_count() - 1;
    const float alpha = AlphaAt(call);
    const float alpha_next = is_last ? 1.0f : AlphaAt(call + 1);
    const float beta = 1.0f - alpha;
    const float beta_next = 1.0f - alpha_next;
    const float step_alpha = alpha / alpha_next;
    const float step_beta = 1.0f - step_alpha;
    const at::Tensor clean = Clipped(
        CleanFromAlpha(type_, output, latents, std::sqrt(alpha), std::sqrt(beta)), clip_range_);
    const at::Tensor mean = clean * (std::sqrt(alpha_next) * step_beta / beta) +
                            latents * (std::sqrt(step_alpha) * beta_next / beta);
    if (is_last) return mean;
    const float variance = beta_next / beta * step_beta;
    return mean + noise.Draw().to(latents.device()) * std::sqrt(variance);
  }

 private:
  SignalAndNoise LevelOf(int32_t call) const override { return LevelOfAlpha(AlphaAt(call)); }
  float AlphaAt(int32_t call) const { return alphas_[static_cast<size_t>(timesteps_[call])]; }

  const std::vector<float> alphas_;  // of training
  const double clip_range_;
};

}  // namespace

Result<std::unique_ptr<Sampler>> MakeDdpm(const SchedulerConfig& config, int32_t step_count) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  TF_ASSIGN_OR_RETURN(const std::vector<int32_t> timesteps,
                      MakeDiscreteTimesteps(config, step_count));
  TF_ASSIGN_OR_RETURN(std::vector<float> alphas, TrainingAlphas(config));
  if (config.rescale_betas_zero_snr && type == PredictionType::kEpsilon) {
    return Status(StatusCode::kUnimplemented, "UNSUPPORTED_SCHEDULER",
                  "ddpm cannot begin at zero signal with a model that predicts noise; use euler");
  }
  return std::unique_ptr<Sampler>(
      std::make_unique<Ddpm>(timesteps, std::move(alphas), type, config.clip_sample_range));
}

}  // namespace tightfit
