// DiffusionSampling: the state of one running request between two calls of DiffusionPipeline.
#ifndef TIGHTFIT_SERVER_PIPELINE_DIFFUSION_SAMPLING_H_
#define TIGHTFIT_SERVER_PIPELINE_DIFFUSION_SAMPLING_H_

#include "server/device/counting_allocator.h"
#include "server/engine/diffusion_model.h"
#include "server/pipeline/conditioner.h"
#include "server/pipeline/denoising_window.h"
#include "server/pipeline/image_start.h"
#include "server/pipeline/latent_noise.h"
#include "server/pipeline/samplers.h"
#include "server/pipeline/vae.h"
#include "server/weights/kept_products.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace tightfit {

class DiffusionSampling : public Sampling {
 public:
  DiffusionSampling(GenerationParameters parameters, std::unique_ptr<Sampler> sampler,
                    DenoisingWindow window, LatentNoise noise, Conditioning conditioning,
                    std::unique_ptr<const KeptProducts> text_products, at::Tensor latents,
                    std::optional<KeptLatents> kept = std::nullopt)
      : parameters_(std::move(parameters)),
        sampler_(std::move(sampler)),
        window_(window),
        noise_(std::move(noise)),
        conditioning_(std::move(conditioning)),
        text_products_(std::move(text_products)),
        latents_(std::move(latents)),
        kept_(std::move(kept)) {}
  int32_t step_count() const override { return window_.end - window_.begin; }
  int32_t steps_done() const override { return steps_done_; }
  int32_t image_count() const override { return parameters_.image_count; }
  int32_t images_done() const override { return images_done_; }
  std::vector<PromptTokens> prompt_tokens() const override { return conditioning_.prompt_tokens; }

  int64_t denoised_latents() const override {
    return latents_.size(0) * decoded_latents() * (UsesGuidance(parameters_) ? 2 : 1);
  }
  int64_t decoded_latents() const override { return latents_.size(2) * latents_.size(3); }
  bool needs_fallback() const override { return in_fp32_; }

  // fp32 [image_count, channels, h, w], as the sampler left them.
  const at::Tensor& latents() const { return latents_; }

 private:
  friend class DiffusionPipeline;

  // Between requests the process holds no more than before the first. Declared first: goes last.
  struct CachedBlocks {
    ~CachedBlocks() { ReleaseCachedBlocks(); }
  };
  const CachedBlocks cached_blocks_;
  const GenerationParameters parameters_;
  const std::unique_ptr<Sampler> sampler_;
  const DenoisingWindow window_;
  LatentNoise noise_;
  const Conditioning conditioning_;
  std::unique_ptr<const KeptProducts> text_products_;  // until the last step; may be null
  at::Tensor latents_;
  std::optional<KeptLatents> kept_;  // with a mask, until the last step
  int32_t steps_done_ = 0;
  // A sampler that was stopped halfway may have drawn noise, or noted the prediction: the step
  // cannot be tried again.
  bool is_in_sampler_ = false;
  int32_t images_done_ = 0;
  std::optional<ImageDecoding> decoding_;  // of the image that is being decoded
  // The VAE's 16 bits were not enough for one of the images: they will not be for the others.
  bool in_fp32_ = false;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_DIFFUSION_SAMPLING_H_
