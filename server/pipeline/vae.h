// VaeDecoder: latents to pixels.
#ifndef TIGHTFIT_SERVER_PIPELINE_VAE_H_
#define TIGHTFIT_SERVER_PIPELINE_VAE_H_

#include "server/base/status.h"
#include "server/pipeline/network.h"
#include "server/pipeline/vae_tiling.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace tightfit {

struct RgbPixels {
  int32_t width_px = 0;
  int32_t height_px = 0;
  std::vector<uint8_t> rgb;  // rows from top to bottom, no padding
};

// Decodes images of [-1, 1] to 8 bits: halves, shifts, clamps, rounds ties to even, as diffusers'
// VaeImageProcessor. `image`: fp32 [1, 3, h, w] on the CPU. Errors: INTERNAL `NOT_FINITE` for a
// NaN or an infinity.
Result<RgbPixels> ToRgbPixels(const at::Tensor& image);

// The decoder's network, and where that computes in 16 bits, one in fp32 to fall back on. Not
// thread-safe.
class VaeDecoder {
 public:
  using Load = std::function<Result<Network>()>;

  // `load_fp32` may be empty; else it is called once, when an image first needs it.
  VaeDecoder(Network network, double scaling_factor, Load load_fp32 = {})
      : network_(std::move(network)),
        scaling_factor_(scaling_factor),
        load_fp32_(std::move(load_fp32)) {}

  bool has_fallback() const { return fp32_.has_value() || load_fp32_; }

  // Latents, fp32, as the sampler left them, as the network takes them but for the dtype.
  at::Tensor Unscaled(const at::Tensor& latents) const { return latents / scaling_factor_; }

  // `unscaled`: fp32 [1, channels, h, w]; gives fp32 [1, 3, height, width] on the CPU. Errors: the
  // network's, and those of loading the one in fp32.
  Result<at::Tensor> Run(const at::Tensor& unscaled, bool in_fp32);

 private:
  const Network network_;
  const double scaling_factor_;
  const Load load_fp32_;
  std::optional<Network> fp32_;
};

// One image on its way from latents to pixels.
class ImageDecoding {
 public:
  // `latents`: fp32 [1, channels, h, w] as the sampler left them. With `tile`, one tile is decoded
  // a call. `in_fp32` begins with what the decoder falls back on, if it has that. `decoder` must
  // outlive it.
  ImageDecoding(VaeDecoder* decoder, const at::Tensor& latents, std::optional<TileSizes> tile,
                bool in_fp32 = false);

  // Runs the network once; nullopt while there is more to do. A result that is not finite makes it
  // begin again in fp32. Errors: INTERNAL `NOT_FINITE` where that cannot help; VaeDecoder::Run's.
  Result<std::optional<RgbPixels>> Next();

  bool is_in_fp32_again() const { return in_fp32_; }

 private:
  void Begin();

  VaeDecoder* decoder_;
  at::Tensor unscaled_;
  std::optional<TileSizes> tile_;
  std::optional<TiledImage> tiled_;
  bool in_fp32_ = false;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_VAE_H_
