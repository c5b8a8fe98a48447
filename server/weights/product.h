// Product: the way a layer multiplies by a weight. Each way is one object for the whole process;
// a weight's operators (weights/operators.h) call the one that their weight is made for.
#ifndef TIGHTFIT_SERVER_WEIGHTS_PRODUCT_H_
#define TIGHTFIT_SERVER_WEIGHTS_PRODUCT_H_

#include "server/weights/weight.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace tightfit {

// What aten::conv2d takes beside its tensors.
struct ConvGeometry {
  at::IntArrayRef stride;
  at::IntArrayRef padding;
  at::IntArrayRef dilation;
  int64_t groups = 1;
};

class Product {
 public:
  virtual ~Product() = default;

  // x: [..., K] in fp32, bf16 or fp16, weight of shape [N, K], bias [N]: [..., N] in x's dtype. May
  // throw what LibTorch throws.
  virtual at::Tensor Linear(const at::Tensor& x, const Weight& weight,
                            const std::optional<at::Tensor>& bias) const = 0;
  // x: [B, C, H, W], weight of shape [K, C / groups, R, S], bias [K].
  virtual at::Tensor Conv2d(const at::Tensor& x, const Weight& weight,
                            const std::optional<at::Tensor>& bias,
                            const ConvGeometry& geometry) const = 0;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_PRODUCT_H_
