// DiffusionPipeline: text to image by diffusion, and drawing over an image, as a state machine over
// what makes conditions of prompts, predicts noise, and makes pixels of latents. What is special to
// a family of models stands in its directory (model/model_directory.h) and in families.h.
//
// Latents and the sampler's arithmetic are fp32 whatever the networks compute in: the UNet's input
// is cast to its dtype, its prediction cast back before guidance. With fp32 networks this is what
// diffusers does; with bf16 it keeps what diffusers rounds away after every step.
#ifndef TIGHTFIT_SERVER_PIPELINE_DIFFUSION_PIPELINE_H_
#define TIGHTFIT_SERVER_PIPELINE_DIFFUSION_PIPELINE_H_

#include "server/engine/diffusion_model.h"
#include "server/model/model_directory.h"
#include "server/pipeline/conditioner.h"
#include "server/pipeline/denoiser.h"
#include "server/pipeline/diffusion_sampling.h"
#include "server/pipeline/latent_codec.h"

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>

namespace tightfit {

class DiffusionPipeline : public DiffusionModel {
 public:
  struct Parts {
    ModelDescription description;
    SchedulerConfig scheduler;
    Conditioner conditioner;
    Denoiser denoiser;
    LatentCodec codec;
  };
  explicit DiffusionPipeline(Parts parts) : parts_(std::move(parts)) {}

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
  // What an inpainting denoiser is told of the image.
  void AddMaskedImage(const ImageStart& start, bool guided, Conditioning* conditioning) const;
  ImageDecoding DecodingOf(const DiffusionSampling& sampling);
  Result<at::Tensor> PredictNoise(const DiffusionSampling& sampling) const;

  Parts parts_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_DIFFUSION_PIPELINE_H_
