// VaeDecoder: latents to pixels.
#ifndef TIGHTFIT_SERVER_PIPELINE_VAE_H_
#define TIGHTFIT_SERVER_PIPELINE_VAE_H_

#include "server/base/status.h"
#include "server/pipeline/network.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace tightfit {

struct RgbPixels {
  int32_t width_px = 0;
  int32_t height_px = 0;
  std::vector<uint8_t> rgb;  // rows from top to bottom, no padding
};

// Decodes pictures of [-1, 1] to 8 bits: halves, shifts, clamps, rounds ties to even, as diffusers'
// VaeImageProcessor. `picture`: [1, 3, h, w]. Errors: INTERNAL `NOT_FINITE` for a NaN or an
// infinity.
Result<RgbPixels> ToRgbPixels(const at::Tensor& picture);

class VaeDecoder {
 public:
  VaeDecoder(Network network, double scaling_factor)
      : network_(std::move(network)), scaling_factor_(scaling_factor) {}

  // `latents`: fp32 [1, channels, h, w] as the sampler left them. Errors: the network's,
  // ToRgbPixels'.
  Result<RgbPixels> Decode(const at::Tensor& latents) const;

 private:
  const Network network_;
  const double scaling_factor_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_VAE_H_
