// WithoutOneDnn: images so narrow that oneDNN draws them wrong are drawn without it.
#ifndef TIGHTFIT_SERVER_PIPELINE_NARROW_LATENTS_H_
#define TIGHTFIT_SERVER_PIPELINE_NARROW_LATENTS_H_

#include <ATen/ATen.h>
#include <ATen/Context.h>

#include <cstdint>

namespace tightfit {

// Latents of at most this width are too narrow if they are high enough.
inline constexpr int32_t kWidestWithoutOneDnn = 4;

// Whether a convolution of stride 2 of a UNet, of which there are `halving_count` one after the
// other, sees one or two columns and three rows or more:
// with AMX, oneDNN's kernels for bf16 (torch 2.11) then read memory that nobody has written, and
// the image is another one each time. `latents` has the shape [.., height, width].
inline bool IsTooNarrowForOneDnn(const at::Tensor& latents, const at::Device& device,
                                 at::ScalarType dtype, int32_t halving_count) {
  if (!device.is_cpu() || dtype != at::kBFloat16) return false;
  int64_t height = latents.size(-2);
  int64_t width = latents.size(-1);
  for (int32_t level = 0; level < halving_count; ++level) {
    if (width <= 2 && height >= 3) return true;
    height = (height + 1) / 2;
    width = (width + 1) / 2;
  }
  return false;
}

// Switches oneDNN off for the process while it lives, if `is_off`.
class WithoutOneDnn {
 public:
  explicit WithoutOneDnn(bool is_off) : is_off_(is_off && at::globalContext().userEnabledMkldnn()) {
    if (is_off_) at::globalContext().setUserEnabledMkldnn(false);
  }
  ~WithoutOneDnn() {
    if (is_off_) at::globalContext().setUserEnabledMkldnn(true);
  }
  WithoutOneDnn(const WithoutOneDnn&) = delete;
  WithoutOneDnn& operator=(const WithoutOneDnn&) = delete;

 private:
  const bool is_off_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_NARROW_LATENTS_H_
