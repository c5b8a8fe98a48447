// VaeEncoder: pixels to latents.
#ifndef TIGHTFIT_SERVER_PIPELINE_VAE_ENCODER_H_
#define TIGHTFIT_SERVER_PIPELINE_VAE_ENCODER_H_

#include "server/base/status.h"
#include "server/engine/generation.h"
#include "server/pipeline/network.h"

#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <utility>

namespace tightfit {

// What an image may be as latents: a normal distribution for each value. fp32 [1, channels, h, w]
// on the CPU.
struct LatentDistribution {
  at::Tensor mean;
  at::Tensor deviation;
  double scaling_factor = 1.0;

  // `noise`: fp32 [images, channels, h, w] of unit normal draws; a sample for each, scaled as the
  // UNet takes latents.
  at::Tensor Sample(const at::Tensor& noise) const {
    return (mean + deviation * noise) * scaling_factor;
  }
};

// The encoder's network in fp32, which is there from the first image on. Not thread-safe.
class VaeEncoder {
 public:
  using Load = std::function<Result<Network>()>;

  VaeEncoder(Load load, double scaling_factor)
      : load_(std::move(load)), scaling_factor_(scaling_factor) {}

  // Loads the network unless it is there. Errors: those of loading it.
  Status Prepare();
  // Lets the network go, as before the first image.
  void Release() { network_.reset(); }

  // Height and width of `image` are multiples of a latent's. Where `hole`, of its size, draws
  // something, the network sees mid-grey instead. Errors: Prepare's, the network's; INTERNAL
  // `NOT_FINITE`.
  Result<LatentDistribution> Encode(const RgbImage& image, const ImageMask* hole = nullptr);

 private:
  const Load load_;
  const double scaling_factor_;
  std::optional<Network> network_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_VAE_ENCODER_H_
