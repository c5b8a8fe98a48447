// SdxlSampling: the state of one running request between two calls of SdxlPipeline.
#ifndef TIGHTFIT_SERVER_PIPELINE_SDXL_SAMPLING_H_
#define TIGHTFIT_SERVER_PIPELINE_SDXL_SAMPLING_H_

#include "server/engine/diffusion_model.h"
#include "server/pipeline/conditioning.h"
#include "server/pipeline/latent_noise.h"
#include "server/pipeline/samplers.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <utility>

namespace tightfit {

class SdxlSampling : public Sampling {
 public:
  SdxlSampling(GenerationParameters parameters, std::unique_ptr<Sampler> sampler, LatentNoise noise,
               Conditioning conditioning, at::Tensor latents)
      : parameters_(std::move(parameters)),
        sampler_(std::move(sampler)),
        noise_(std::move(noise)),
        conditioning_(std::move(conditioning)),
        latents_(std::move(latents)) {}

  int32_t step_count() const override { return sampler_->call_count(); }
  int32_t steps_done() const override { return steps_done_; }
  int32_t image_count() const override { return parameters_.image_count; }
  int32_t images_done() const override { return images_done_; }

  // fp32 [image_count, channels, h, w], as the sampler left them.
  const at::Tensor& latents() const { return latents_; }

 private:
  friend class SdxlPipeline;

  const GenerationParameters parameters_;
  const std::unique_ptr<Sampler> sampler_;
  LatentNoise noise_;
  const Conditioning conditioning_;
  at::Tensor latents_;
  int32_t steps_done_ = 0;
  int32_t images_done_ = 0;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_SDXL_SAMPLING_H_
