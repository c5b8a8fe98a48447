// ImageStart: what the denoising of a request that draws over an image begins with, and what it
// keeps of the image: diffusers' StableDiffusionXLImg2ImgPipeline, and with a mask its
// StableDiffusionXLInpaintPipeline on a UNet of four channels, for images drawn one by one.
#ifndef TIGHTFIT_SERVER_PIPELINE_IMAGE_START_H_
#define TIGHTFIT_SERVER_PIPELINE_IMAGE_START_H_

#include "server/engine/generation.h"
#include "server/pipeline/latent_noise.h"
#include "server/pipeline/samplers.h"
#include "server/pipeline/vae_encoder.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace tightfit {

// The latents outside of a mask, which are the image's own after every call.
struct KeptLatents {
  at::Tensor clean;  // fp32 [images, channels, h, w]
  at::Tensor noise;
  at::Tensor drawn;  // fp32 [1, 1, h, w]: 1 where something is drawn, else 0

  // `latents` as `call` left them, with those that are kept in their place: as noisy as the next
  // call of `sampler` begins, or clean after its last.
  at::Tensor Blend(const at::Tensor& latents, const Sampler& sampler, int32_t call) const;

  KeptLatents To(at::Device device) const {
    return {clean.to(device), noise.to(device), drawn.to(device)};
  }
};

// What an inpainting denoiser sees beside the latents.
struct MaskedImage {
  at::Tensor drawn;    // fp32 [1, 1, h, w], as of KeptLatents
  at::Tensor latents;  // fp32 [images, channels, h, w]
};

struct ImageStart {
  at::Tensor latents;                                // fp32 [images, channels, h, w] on the CPU
  std::optional<KeptLatents> kept;                   // with a mask
  std::optional<MaskedImage> masked = std::nullopt;  // of an inpainting denoiser
};

// Whether nothing of the image is in the latents that the first call, `begin`, sees.
bool StartsFromNoise(const GenerationParameters& parameters, int32_t begin);

// `begin`: the first call of `sampler` that is made. Every image has a sample of `distribution` of
// its own; draws from `noise` are the sample, the noise, and with a mask a third that is not used,
// as diffusers draws it.
ImageStart StartFromImage(const GenerationParameters& parameters,
                          const LatentDistribution& distribution, const Sampler& sampler,
                          int32_t begin, LatentNoise& noise);

// The same for an inpainting denoiser, which keeps nothing by itself: diffusers'
// StableDiffusionInpaintPipeline. `distribution` is of the whole image, and not needed where
// StartsFromNoise; `masked`: of the image without what is drawn.
ImageStart StartInpainting(const GenerationParameters& parameters,
                           const std::optional<LatentDistribution>& distribution,
                           const LatentDistribution& masked, const Sampler& sampler, int32_t begin,
                           LatentNoise& noise);

// Puts the pixels of `init_image` where `mask` keeps them. `rgb` has the size of both.
void KeepPixels(const RgbImage& init_image, const ImageMask& mask, std::vector<uint8_t>* rgb);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_IMAGE_START_H_
