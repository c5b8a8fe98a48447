// SdxlPipeline: diffusers' StableDiffusionXLPipeline, and its pipelines that draw over an image, as
// a state machine over four networks and the VAE's encoder.
//
// Latents and the sampler's arithmetic are fp32 whatever the networks compute in: the UNet's input
// is cast to its dtype, its prediction cast back before guidance. With fp32 networks this is what
// diffusers does; with bf16 it keeps what diffusers rounds away after every step.
#ifndef TIGHTFIT_SERVER_PIPELINE_SDXL_PIPELINE_H_
#define TIGHTFIT_SERVER_PIPELINE_SDXL_PIPELINE_H_

#include "server/engine/diffusion_model.h"
#include "server/model/model_directory.h"
#include "server/pipeline/network.h"
#include "server/pipeline/sdxl_sampling.h"
#include "server/pipeline/text_encoder.h"
#include "server/pipeline/vae.h"
#include "server/pipeline/vae_encoder.h"

#include <functional>
#include <memory>
#include <optional>
#include <span>

namespace tightfit {

class SdxlPipeline : public DiffusionModel {
 public:
  struct Parts {
    ModelDescription description;
    SchedulerConfig scheduler;
    int32_t latent_channels = 4;
    TextEncoder text_encoder;
    Network unet;
    VaeDecoder vae;
    std::optional<VaeEncoder> vae_encoder = std::nullopt;  // of models that draw over images
  };
  explicit SdxlPipeline(Parts parts) : parts_(std::move(parts)) {}

  // Draws a few dozen small images, which also warms the networks up, and tells what they took;
  // calls `on_image` before each, which stops it by returning false. Errors: those of drawing;
  // LoadStopped.
  Result<RequestCosts> ProfileMemory(const std::function<bool()>& on_image);
  // Before the first request.
  void SetCosts(RequestCosts costs) { parts_.description.memory.costs = std::move(costs); }
  void SetLoadTime(double seconds) { parts_.description.load_seconds = seconds; }

  const ModelDescription& description() const override { return parts_.description; }
  Result<std::unique_ptr<Sampling>> Begin(const GenerationParameters& parameters) override;
  Status Step(std::span<Sampling* const> batch) override;
  Result<std::optional<Image>> DecodeNext(Sampling& sampling) override;

 private:
  Status CheckParameters(const GenerationParameters& parameters) const;
  Status CheckImages(const GenerationParameters& parameters) const;
  // The latents that the first call, `begin`, sees.
  Result<ImageStart> StartOf(const GenerationParameters& parameters, const Sampler& sampler,
                             int32_t begin, LatentNoise& noise);
  ImageDecoding DecodingOf(const SdxlSampling& sampling);
  Result<at::Tensor> PredictNoise(const SdxlSampling& sampling) const;

  Parts parts_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_SDXL_PIPELINE_H_
