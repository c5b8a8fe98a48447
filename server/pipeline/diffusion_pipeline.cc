#include "server/pipeline/diffusion_pipeline.h"

#include "server/device/compute_device.h"
#include "server/device/run_torch.h"
#include "server/engine/memory_estimate.h"
#include "server/memory/memory_accounts.h"

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

// The sampler's calls that a request makes.
Result<DenoisingWindow> WindowOf(const Sampler& sampler, const SchedulerConfig& scheduler,
                                 const GenerationParameters& parameters) {
  std::vector<float> timesteps;
  for (int32_t call = 0; call < sampler.call_count(); ++call) {
    timesteps.push_back(sampler.step_timestep(call));
  }
  int32_t first_call = 0;
  if (parameters.init_image != nullptr) {
    TF_ASSIGN_OR_RETURN(
        first_call,
        FirstCallOfStrength(parameters.step_count, sampler.calls_per_step(), parameters.strength));
  }
  return MakeDenoisingWindow(timesteps, scheduler.num_train_timesteps, sampler.calls_per_step(),
                             parameters.denoising_start, parameters.denoising_end, first_call);
}

// fp32 [images, channels, height, width].
at::Tensor Stacked(const std::vector<Latents>& latents) {
  std::vector<at::Tensor> images;
  for (const Latents& image : latents) {
    images.push_back(at::tensor(at::ArrayRef<float>(image.values))
                         .reshape({image.channels, image.height, image.width}));
  }
  return at::stack(images);
}

Latents ToLatents(const at::Tensor& image) {
  const at::Tensor values = image.to(at::kCPU, at::kFloat).contiguous();
  const float* const data = values.const_data_ptr<float>();
  return {.channels = static_cast<int32_t>(values.size(0)),
          .height = static_cast<int32_t>(values.size(1)),
          .width = static_cast<int32_t>(values.size(2)),
          .values = {data, data + values.numel()}};
}

}  // namespace

Status DiffusionPipeline::CheckParameters(const GenerationParameters& parameters) const {
  const int32_t multiple = parts_.description.pixels_per_latent;
  for (const auto& [field, value] :
       {std::pair("width_px", parameters.width_px), std::pair("height_px", parameters.height_px)}) {
    if (value >= multiple && value % multiple == 0) continue;
    return InvalidArgument(std::string(field) + " must be a multiple of " +
                           std::to_string(multiple) + ", but is " + std::to_string(value));
  }
  if (parameters.image_count < 1) return InvalidArgument("image_count must be at least 1");
  const size_t given = parameters.initial_latents.size();
  const bool needs_latents = parameters.denoising_start > 0.0f;
  if (given != (needs_latents ? static_cast<size_t>(parameters.image_count) : 0)) {
    return InvalidArgument(
        "initial_latents must be one for each image where denoising_start is "
        "above 0, and none elsewhere");
  }
  for (const Latents& latents : parameters.initial_latents) {
    if (latents.channels == parts_.codec.channels &&
        latents.height == parameters.height_px / multiple &&
        latents.width == parameters.width_px / multiple &&
        std::ssize(latents.values) == int64_t{latents.channels} * latents.height * latents.width) {
      continue;
    }
    return InvalidArgument("initial_latents must have the size of the image");
  }
  return CheckImages(parameters);
}

Status DiffusionPipeline::CheckImages(const GenerationParameters& parameters) const {
  if (parameters.init_image == nullptr) {
    return parameters.mask == nullptr ? OkStatus() : InvalidArgument("mask needs an init_image");
  }
  if (!parts_.codec.encoder.has_value()) {
    return InvalidArgument("init_image: the model has no VAE encoder; export it again");
  }
  if (parameters.denoising_start > 0.0f) {
    return InvalidArgument(
        "init_image goes with no denoising_start; strength says where it begins");
  }
  const auto has_size_of_request = [&parameters](const auto& image, const auto& bytes,
                                                 int64_t bytes_per_pixel) {
    return image.width_px == parameters.width_px && image.height_px == parameters.height_px &&
           std::ssize(bytes) == bytes_per_pixel * image.width_px * image.height_px;
  };
  if (!has_size_of_request(*parameters.init_image, parameters.init_image->rgb, 3)) {
    return InvalidArgument("init_image must have the size of the image");
  }
  if (parameters.mask != nullptr &&
      !has_size_of_request(*parameters.mask, parameters.mask->drawn, 1)) {
    return InvalidArgument("mask must have the size of the image");
  }
  return OkStatus();
}

Result<std::unique_ptr<Sampling>> DiffusionPipeline::Begin(const GenerationParameters& parameters) {
  TF_RETURN_IF_ERROR(CheckParameters(parameters));
  const ModelDescription& description = parts_.description;
  SchedulerConfig scheduler = parts_.scheduler;
  if (!parameters.timestep_spacing.empty()) {
    scheduler.timestep_spacing = parameters.timestep_spacing;
  }
  TF_ASSIGN_OR_RETURN(std::unique_ptr<Sampler> sampler,
                      MakeSampler(parameters.sampler, scheduler, parameters.step_count));
  TF_ASSIGN_OR_RETURN(const DenoisingWindow window,
                      WindowOf(*sampler, parts_.scheduler, parameters));
  const LatentShape shape{.channels = parts_.codec.channels,
                          .height = parameters.height_px / description.pixels_per_latent,
                          .width = parameters.width_px / description.pixels_per_latent};
  std::unique_ptr<Sampling> sampling;
  TF_RETURN_IF_ERROR(RunTorch("start the request", [&]() -> Status {
    LatentNoise noise(parameters.seed, parameters.image_count, shape);
    // What encoding it takes goes before anything else of the request is there.
    TF_ASSIGN_OR_RETURN(ImageStart start, StartOf(parameters, *sampler, window.begin, noise));
    const ScopedMemoryAccount account(ActivationsOf(description, "unet"));
    const Network& network = parts_.denoiser.network();
    TF_ASSIGN_OR_RETURN(Conditioning conditioning,
                        parts_.conditioner.Make(parameters, network.dtype));
    if (description.needs_mask) AddMaskedImage(start, UsesGuidance(parameters), &conditioning);
    std::unique_ptr<const KeptProducts> text_products;
    if (network.keep_products && KeepsTextProducts(description, parameters)) {
      TF_ASSIGN_OR_RETURN(text_products, network.keep_products(conditioning.text()));
    }
    const at::Device device = network.device;
    if (start.kept.has_value()) start.kept = start.kept->To(device);
    sampling = std::make_unique<DiffusionSampling>(
        parameters, std::move(sampler), window, std::move(noise), std::move(conditioning),
        std::move(text_products), start.latents.to(device), std::move(start.kept));
    return OkStatus();
  }));
  return sampling;
}

Result<ImageStart> DiffusionPipeline::StartOf(const GenerationParameters& parameters,
                                              const Sampler& sampler, int32_t begin,
                                              LatentNoise& noise) {
  const bool inpaints = parts_.description.needs_mask && parameters.mask != nullptr;
  std::optional<LatentDistribution> distribution;
  std::optional<LatentDistribution> masked;
  if (parameters.init_image != nullptr) {
    const ScopedMemoryAccount account(ActivationsOf(parts_.description, kVaeEncoder));
    VaeEncoder& encoder = *parts_.codec.encoder;
    if (!inpaints || !StartsFromNoise(parameters, begin)) {
      TF_ASSIGN_OR_RETURN(distribution, encoder.Encode(*parameters.init_image));
    }
    if (inpaints) {
      TF_ASSIGN_OR_RETURN(masked, encoder.Encode(*parameters.init_image, parameters.mask.get()));
    }
  }
  const ScopedMemoryAccount account(ActivationsOf(parts_.description, "unet"));
  if (masked.has_value()) {
    return StartInpainting(parameters, distribution, *masked, sampler, begin, noise);
  }
  if (distribution.has_value()) {
    return StartFromImage(parameters, *distribution, sampler, begin, noise);
  }
  return ImageStart{.latents = parameters.initial_latents.empty()
                                   ? noise.Draw() * sampler.init_noise_sigma()
                                   : Stacked(parameters.initial_latents),
                    .kept = std::nullopt};
}

void DiffusionPipeline::AddMaskedImage(const ImageStart& start, bool guided,
                                       Conditioning* conditioning) const {
  const Network& network = parts_.denoiser.network();
  // A load measures without an image: everything is drawn, around it is mid-grey.
  const at::Tensor drawn = start.masked.has_value()
                               ? start.masked->drawn
                               : at::ones_like(start.latents.slice(0, 0, 1).slice(1, 0, 1));
  const at::Tensor latents =
      start.masked.has_value() ? start.masked->latents : at::zeros_like(start.latents);
  const int64_t halves = guided ? 2 : 1;
  conditioning->inputs[kMaskInput] =
      drawn.repeat({halves * latents.size(0), 1, 1, 1}).to(network.device, network.dtype);
  conditioning->inputs[kMaskedImageInput] =
      latents.repeat({halves, 1, 1, 1}).to(network.device, network.dtype);
}

Result<at::Tensor> DiffusionPipeline::PredictNoise(const DiffusionSampling& sampling) const {
  const GenerationParameters& parameters = sampling.parameters_;
  const int32_t call = sampling.window_.begin + sampling.steps_done_;
  const bool guided = UsesGuidance(parameters);
  at::Tensor input = sampling.sampler_->ScaleModelInput(sampling.latents_, call);
  if (guided) input = at::cat({input, input});
  const ScopedKeptProducts products(sampling.text_products_.get());
  TF_ASSIGN_OR_RETURN(
      const at::Tensor prediction,
      parts_.denoiser.Predict(input, sampling.sampler_->timestep(call), sampling.conditioning_));
  if (!guided) return prediction;
  const std::vector<at::Tensor> halves = prediction.chunk(2);
  const at::Tensor guided_prediction =
      halves[0] + (halves[1] - halves[0]) * parameters.guidance_scale;
  if (parameters.guidance_rescale <= 0.0f) return guided_prediction;
  return Rescaled(guided_prediction, halves[1], parameters.guidance_rescale);
}

Status DiffusionPipeline::Step(std::span<Sampling* const> batch) {
  for (Sampling* const member : batch) {
    auto& sampling = static_cast<DiffusionSampling&>(*member);
    if (sampling.steps_done_ >= sampling.step_count()) {
      return Internal("a request was stepped beyond its last step");
    }
    if (sampling.is_in_sampler_) {
      return Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                    "memory ran out in the middle of a denoising step");
    }
    TF_RETURN_IF_ERROR(RunTorch("run a denoising step", [&]() -> Status {
      const ScopedMemoryAccount account(ActivationsOf(parts_.description, "unet"));
      TF_ASSIGN_OR_RETURN(const at::Tensor prediction, PredictNoise(sampling));
      sampling.is_in_sampler_ = true;
      const int32_t call = sampling.window_.begin + sampling.steps_done_;
      sampling.latents_ =
          sampling.sampler_->Step(prediction, sampling.latents_, call, sampling.noise_);
      if (sampling.kept_.has_value()) {
        sampling.latents_ = sampling.kept_->Blend(sampling.latents_, *sampling.sampler_, call);
      }
      // A step is done when the device has done it: progress, cancelling and the watchdog go by
      // that, and an error of the device is the error of the request that made it.
      Synchronize(parts_.denoiser.network().device);
      return OkStatus();
    }));
    sampling.is_in_sampler_ = false;
    ++sampling.steps_done_;
    if (sampling.steps_done_ == sampling.step_count()) {
      sampling.text_products_.reset();
      sampling.kept_.reset();
    }
  }
  return OkStatus();
}

ImageDecoding DiffusionPipeline::DecodingOf(const DiffusionSampling& sampling) {
  const ModelDescription& description = parts_.description;
  const GenerationParameters& parameters = sampling.parameters_;
  std::optional<TileSizes> tile;
  const int32_t tile_px = VaeTilePx(description, parameters.width_px, parameters.height_px);
  if (tile_px > 0) {
    tile = {.sample_px = tile_px, .latents = tile_px / description.pixels_per_latent};
  }
  return {&parts_.codec.decoder, sampling.latents_.narrow(0, sampling.images_done_, 1), tile,
          sampling.in_fp32_};
}

Result<std::optional<Image>> DiffusionPipeline::DecodeNext(Sampling& sampling) {
  auto& state = static_cast<DiffusionSampling&>(sampling);
  if (state.steps_done_ < state.step_count() || state.images_done_ >= state.image_count()) {
    return Internal("an image was decoded before the last step or after the last image");
  }
  const int32_t index = state.images_done_;
  const GenerationParameters& parameters = state.parameters_;
  Image image{.index = index,
              .seed = static_cast<int64_t>(static_cast<uint64_t>(parameters.seed) +
                                           static_cast<uint64_t>(index)),
              .width_px = parameters.width_px,
              .height_px = parameters.height_px,
              .rgb = {},
              .latents = {}};
  bool is_complete = false;
  TF_RETURN_IF_ERROR(RunTorch("decode an image", [&]() -> Status {
    const ScopedMemoryAccount account(ActivationsOf(parts_.description, "vae"));
    if (parameters.output == OutputKind::kLatents) {
      image.latents = ToLatents(state.latents_[index]);
      is_complete = true;
      return OkStatus();
    }
    if (!state.decoding_.has_value()) state.decoding_.emplace(DecodingOf(state));
    TF_ASSIGN_OR_RETURN(std::optional<RgbPixels> pixels, state.decoding_->Next());
    state.in_fp32_ = state.decoding_->is_in_fp32_again();
    if (!pixels.has_value()) return OkStatus();
    is_complete = true;
    image.width_px = pixels->width_px;
    image.height_px = pixels->height_px;
    image.rgb = std::move(pixels->rgb);
    if (parameters.mask != nullptr && parameters.keep_unmasked_pixels) {
      KeepPixels(*parameters.init_image, *parameters.mask, &image.rgb);
    }
    image.decoded_again_in_fp32 = state.in_fp32_;
    return OkStatus();
  }));
  if (!is_complete) return std::optional<Image>();
  state.decoding_.reset();
  ++state.images_done_;
  return std::optional<Image>(std::move(image));
}

}  // namespace tightfit
