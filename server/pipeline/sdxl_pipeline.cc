#include "server/pipeline/sdxl_pipeline.h"

#include "server/memory/memory_accounts.h"
#include "server/model/run_torch.h"

#include <string>
#include <utility>

namespace tightfit {
namespace {

MemoryAccount* ActivationsOf(const ModelDescription& description, std::string_view component) {
  return MemoryAccounts::Instance().Get(description.name, component, MemoryPurpose::kActivations);
}

// Brings each image's deviation back to that of `unguided` by the share `rescale`: Lin et al. 2023,
// equation 16, as diffusers computes it.
at::Tensor Rescaled(const at::Tensor& guided, const at::Tensor& unguided, float rescale) {
  const auto deviation = [](const at::Tensor& prediction) {
    return prediction.std({1, 2, 3}, /*unbiased=*/true, /*keepdim=*/true);
  };
  const at::Tensor narrowed = guided * (deviation(unguided) / deviation(guided));
  return narrowed * rescale + guided * (1.0f - rescale);
}

}  // namespace

Status SdxlPipeline::CheckParameters(const GenerationParameters& parameters) const {
  const int32_t multiple = parts_.description.pixels_per_latent;
  for (const auto& [field, value] :
       {std::pair("width_px", parameters.width_px), std::pair("height_px", parameters.height_px)}) {
    if (value >= multiple && value % multiple == 0) continue;
    return InvalidArgument(std::string(field) + " must be a multiple of " +
                           std::to_string(multiple) + ", but is " + std::to_string(value));
  }
  if (parameters.image_count < 1) return InvalidArgument("image_count must be at least 1");
  return OkStatus();
}

Result<std::unique_ptr<Sampling>> SdxlPipeline::Begin(const GenerationParameters& parameters) {
  TF_RETURN_IF_ERROR(CheckParameters(parameters));
  const ModelDescription& description = parts_.description;
  TF_ASSIGN_OR_RETURN(std::unique_ptr<Sampler> sampler,
                      MakeSampler(parameters.sampler, parts_.scheduler, parameters.step_count));
  const LatentShape shape{.channels = parts_.latent_channels,
                          .height = parameters.height_px / description.pixels_per_latent,
                          .width = parameters.width_px / description.pixels_per_latent};
  std::unique_ptr<Sampling> sampling;
  TF_RETURN_IF_ERROR(RunTorch("start the request", [&]() -> Status {
    const ScopedMemoryAccount account(ActivationsOf(description, "unet"));
    TF_ASSIGN_OR_RETURN(
        Conditioning conditioning,
        MakeConditioning(parts_.text_encoder, parameters, description.force_zeros_for_empty_prompt,
                         parts_.unet.dtype));
    LatentNoise noise(parameters.seed, parameters.image_count, shape);
    at::Tensor latents = noise.Draw().to(parts_.unet.device) * sampler->init_noise_sigma();
    sampling = std::make_unique<SdxlSampling>(parameters, std::move(sampler), std::move(noise),
                                              std::move(conditioning), std::move(latents));
    return OkStatus();
  }));
  return sampling;
}

Result<at::Tensor> SdxlPipeline::PredictNoise(const SdxlSampling& sampling) const {
  const GenerationParameters& parameters = sampling.parameters_;
  const Conditioning& conditioning = sampling.conditioning_;
  const int32_t call = sampling.steps_done_;
  const bool guided = UsesGuidance(parameters);
  at::Tensor input = sampling.sampler_->ScaleModelInput(sampling.latents_, call);
  if (guided) input = at::cat({input, input});
  const at::Tensor timestep =
      at::full({input.size(0)}, sampling.sampler_->timestep(call), input.options());
  TF_ASSIGN_OR_RETURN(
      const std::vector<at::Tensor> outputs,
      parts_.unet.run({input.to(parts_.unet.dtype), timestep, conditioning.hidden_states,
                       conditioning.pooled, conditioning.time_ids}));
  if (outputs.size() != 1 || outputs[0].sizes() != input.sizes()) {
    return Internal("the UNet's graph did not give one tensor of the latents' shape");
  }
  const at::Tensor prediction = outputs[0].to(at::kFloat);
  if (!guided) return prediction;
  const std::vector<at::Tensor> halves = prediction.chunk(2);
  const at::Tensor guided_prediction =
      halves[0] + (halves[1] - halves[0]) * parameters.guidance_scale;
  if (parameters.guidance_rescale <= 0.0f) return guided_prediction;
  return Rescaled(guided_prediction, halves[1], parameters.guidance_rescale);
}

Status SdxlPipeline::Step(std::span<Sampling* const> batch) {
  for (Sampling* const member : batch) {
    auto& sampling = static_cast<SdxlSampling&>(*member);
    if (sampling.steps_done_ >= sampling.step_count()) {
      return Internal("a request was stepped beyond its last step");
    }
    TF_RETURN_IF_ERROR(RunTorch("run a denoising step", [&]() -> Status {
      const ScopedMemoryAccount account(ActivationsOf(parts_.description, "unet"));
      TF_ASSIGN_OR_RETURN(const at::Tensor prediction, PredictNoise(sampling));
      sampling.latents_ = sampling.sampler_->Step(prediction, sampling.latents_,
                                                  sampling.steps_done_, sampling.noise_);
      return OkStatus();
    }));
    ++sampling.steps_done_;
  }
  return OkStatus();
}

Result<std::optional<Image>> SdxlPipeline::DecodeNext(Sampling& sampling) {
  auto& state = static_cast<SdxlSampling&>(sampling);
  if (state.steps_done_ < state.step_count() || state.images_done_ >= state.image_count()) {
    return Internal("an image was decoded before the last step or after the last image");
  }
  const int32_t index = state.images_done_;
  RgbPixels pixels;
  TF_RETURN_IF_ERROR(RunTorch("decode an image", [&]() -> Status {
    const ScopedMemoryAccount account(ActivationsOf(parts_.description, "vae"));
    TF_ASSIGN_OR_RETURN(pixels, parts_.vae.Decode(state.latents_.narrow(0, index, 1)));
    return OkStatus();
  }));
  ++state.images_done_;
  return std::optional<Image>(
      Image{.index = index,
            .seed = static_cast<int64_t>(static_cast<uint64_t>(state.parameters_.seed) +
                                         static_cast<uint64_t>(index)),
            .width_px = pixels.width_px,
            .height_px = pixels.height_px,
            .rgb = std::move(pixels.rgb)});
}

}  // namespace tightfit
