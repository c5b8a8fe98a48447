// Pseudo linear multistep (Liu et al. 2022; PLMS): diffusers' PNDMScheduler with skip_prk_steps, as
// Stable Diffusion 1.5 has it.
#include "server/pipeline/scheduled_sampler.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

// One call more than steps: the second goes back to where the first began and takes its step again,
// by the mean of both outputs. Calls are counted from the first that is made, as in diffusers: of a
// part of the denoising it is the second of the part that goes back, whatever its timestep, and all
// later ones lie a step behind it.
class Pndm : public VariancePreservingSampler {
 public:
  Pndm(const std::vector<int32_t>& timesteps, std::vector<float> alphas,
       const SchedulerConfig& config, PredictionType type)
      : VariancePreservingSampler(WithSecondTwice(timesteps), type),
        alphas_(std::move(alphas)),
        stride_(config.num_train_timesteps / static_cast<int32_t>(timesteps.size())),
        final_alpha_(config.set_alpha_to_one.value_or(false) ? 1.0f : alphas_.front()) {}

  at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                  LatentNoise& /*noise*/) override {
    const auto told = static_cast<int32_t>(timesteps_[call]);
    const bool goes_back = calls_made_ == 1;
    ++calls_made_;
    if (goes_back) {
      const at::Tensor mean = (output + outputs_.back()) / 2;
      return Moved(std::exchange(start_, {}), mean, told + stride_, told);
    }
    const at::Tensor combined = Combined(output);
    outputs_.push_back(output);
    if (outputs_.size() > kOlder) outputs_.erase(outputs_.begin());
    if (calls_made_ == 1) start_ = latents;
    return Moved(latents, combined, told, told - stride_);
  }

 private:
  // Outputs that a step looks back on.
  static constexpr size_t kOlder = 3;

  static std::vector<float> WithSecondTwice(const std::vector<int32_t>& timesteps) {
    std::vector<float> calls(timesteps.begin(), timesteps.end());
    if (calls.size() > 1) calls.insert(calls.begin() + 1, calls[1]);
    return calls;
  }

  SignalAndNoise LevelOf(int32_t call) const override {
    return LevelOfAlpha(alphas_[static_cast<size_t>(timesteps_[call])]);
  }

  // Adams and Bashforth's, of as high an order as there are outputs.
  at::Tensor Combined(const at::Tensor& output) const {
    const auto older = [this](size_t back) { return outputs_[outputs_.size() - back]; };
    switch (outputs_.size()) {
      case 0:
        return output;
      case 1:
        return (output * 3 - older(1)) / 2;
      case 2:
        return (output * 23 - older(1) * 16 + older(2) * 5) / 12;
      default:
        return (output * 55 - older(1) * 59 + older(2) * 37 - older(3) * 9) / 24;
    }
  }

  // Equation 9 from one training timestep to a lower one; below 0 lies the end.
  at::Tensor Moved(const at::Tensor& latents, const at::Tensor& output, int32_t from,
                   int32_t to) const {
    // An offset may reach beyond the last one.
    const float alpha = alphas_[std::min(from, static_cast<int32_t>(alphas_.size()) - 1)];
    const float alpha_to = to >= 0 ? alphas_[to] : final_alpha_;
    const float beta = 1.0f - alpha;
    const at::Tensor noise = type_ == PredictionType::kEpsilon
                                 ? output
                                 : output * std::sqrt(alpha) + latents * std::sqrt(beta);
    const float weight = alpha * std::sqrt(1.0f - alpha_to) + std::sqrt(alpha * beta * alpha_to);
    return latents * std::sqrt(alpha_to / alpha) - noise * ((alpha_to - alpha) / weight);
  }

  const std::vector<float> alphas_;  // of training
  const int32_t stride_;             // from one timestep to the one before it
  const float final_alpha_;
  int32_t calls_made_ = 0;
  at::Tensor start_;                 // of the step that is taken again
  std::vector<at::Tensor> outputs_;  // of the last calls, without the one that went back
};

}  // namespace

Result<std::unique_ptr<Sampler>> MakePndm(const SchedulerConfig& config, int32_t step_count) {
  TF_ASSIGN_OR_RETURN(const PredictionType type, PredictionTypeByName(config.prediction_type));
  TF_ASSIGN_OR_RETURN(const std::vector<int32_t> timesteps,
                      MakeDiscreteTimesteps(config, step_count));
  TF_ASSIGN_OR_RETURN(std::vector<float> alphas, TrainingAlphas(config));
  if (config.rescale_betas_zero_snr) {
    return Status(StatusCode::kUnimplemented, "UNSUPPORTED_SCHEDULER",
                  "pndm cannot begin at zero signal; use euler");
  }
  return std::unique_ptr<Sampler>(
      std::make_unique<Pndm>(timesteps, std::move(alphas), config, type));
}

}  // namespace tightfit
