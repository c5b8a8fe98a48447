// Denoiser: the network that predicts what of the latents is noise, its inputs by name.
#ifndef TIGHTFIT_SERVER_PIPELINE_DENOISER_H_
#define TIGHTFIT_SERVER_PIPELINE_DENOISER_H_

#include "server/base/status.h"
#include "server/pipeline/conditioner.h"
#include "server/pipeline/network.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {

// Names of the inputs that are not conditions.
inline constexpr char kSampleInput[] = "sample";
inline constexpr char kTimestepInput[] = "timestep";

class Denoiser {
 public:
  // `inputs`: names in the order of the graph. `halving_count`: how often the network halves
  // latents.
  Denoiser(Network network, std::vector<std::string> inputs, int32_t halving_count)
      : network_(std::move(network)), inputs_(std::move(inputs)), halving_count_(halving_count) {}

  const Network& network() const { return network_; }

  // `sample`: fp32 [B, C, h, w], as the sampler scaled it; gives fp32 of the same shape.
  // `conditioning` has B rows. Errors: the network's; INTERNAL for an input that is no condition,
  // or an output of another shape.
  Result<at::Tensor> Predict(const at::Tensor& sample, float timestep,
                             const Conditioning& conditioning) const;

 private:
  const Network network_;
  const std::vector<std::string> inputs_;
  const int32_t halving_count_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_DENOISER_H_
