#include "server/pipeline/latent_noise.h"

#include <ATen/CPUGeneratorImpl.h>

namespace tightfit {

LatentNoise::LatentNoise(int64_t seed, int32_t image_count, LatentShape shape) : shape_(shape) {
  generators_.reserve(image_count);
  for (int32_t i = 0; i < image_count; ++i) {
    // Unsigned, so that the largest seed wraps as it does in torch.
    generators_.push_back(
        at::detail::createCPUGenerator(static_cast<uint64_t>(seed) + static_cast<uint64_t>(i)));
  }
}

at::Tensor LatentNoise::Draw() {
  const auto count = static_cast<int64_t>(generators_.size());
  at::Tensor noise = at::empty({count, shape_.channels, shape_.height, shape_.width}, at::kFloat);
  for (int64_t i = 0; i < count; ++i) {
    // Rows of a contiguous tensor: filled in place with the numbers that a tensor of its own would
    // get.
    noise.narrow(0, i, 1).normal_(0.0, 1.0, generators_[i]);
  }
  return noise;
}

}  // namespace tightfit
