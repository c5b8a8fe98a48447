// LatentNoise: the random draws of one request, one generator for each image.
#ifndef TIGHTFIT_SERVER_PIPELINE_LATENT_NOISE_H_
#define TIGHTFIT_SERVER_PIPELINE_LATENT_NOISE_H_

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace tightfit {

struct LatentShape {
  int64_t channels = 0;
  int64_t height = 0;
  int64_t width = 0;
};

// What image i gets depends on seed + i and the order of draws alone, not on the other images: each
// has a CPU generator of its own and draws in fp32, whatever device and dtype the UNet runs in. The
// same numbers as torch.randn on a CPU with torch.Generator().manual_seed(seed + i).
class LatentNoise {
 public:
  LatentNoise(int64_t seed, int32_t image_count, LatentShape shape);

  // The next draw of every image: fp32 [image_count, channels, height, width] on the CPU.
  at::Tensor Draw();

 private:
  const LatentShape shape_;
  std::vector<at::Generator> generators_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_LATENT_NOISE_H_
