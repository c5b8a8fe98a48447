// LatentCodec: how images and latents become each other.
#ifndef TIGHTFIT_SERVER_PIPELINE_LATENT_CODEC_H_
#define TIGHTFIT_SERVER_PIPELINE_LATENT_CODEC_H_

#include "server/pipeline/vae.h"
#include "server/pipeline/vae_encoder.h"

#include <cstdint>
#include <optional>

namespace tightfit {

struct LatentCodec {
  VaeDecoder decoder;
  std::optional<VaeEncoder> encoder = std::nullopt;  // of models that draw over images
  int32_t channels = 4;
  int32_t pixels_per_latent = 8;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_LATENT_CODEC_H_
