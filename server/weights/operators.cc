#include "server/weights/operators.h"

#include "server/weights/decode_product.h"
#include "server/weights/kept_products.h"

#include <torch/library.h>

#include <optional>

namespace tightfit {
namespace {

using Held = c10::intrusive_ptr<Weight>;

const Weight& CheckedWeight(const Held& weight, size_t rank) {
  TORCH_CHECK(weight->tensor().defined(), "a weight was used while it holds nothing");
  TORCH_CHECK(weight->shape().size() == rank, "this layer's weight has ", rank, " dimensions");
  return *weight;
}

at::Tensor Linear(const at::Tensor& x, const Held& weight, const std::optional<at::Tensor>& bias) {
  if (const KeptProducts* const kept = CurrentKeptProducts()) {
    if (const at::Tensor* const product = kept->Find(x, *weight)) return *product;
  }
  return DecodeProduct().Linear(x, CheckedWeight(weight, 2), bias);
}

at::Tensor Conv2d(const at::Tensor& x, const Held& weight, const std::optional<at::Tensor>& bias,
                  at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation,
                  int64_t groups) {
  return DecodeProduct().Conv2d(x, CheckedWeight(weight, 4), bias,
                                {stride, padding, dilation, groups});
}

}  // namespace

c10::TypePtr WeightType() { return c10::getCustomClassType<Held>(); }

}  // namespace tightfit

TORCH_LIBRARY(tightfit, library) {
  library.class_<tightfit::Weight>("Weight");
  library.def(
      "linear(Tensor x, __torch__.torch.classes.tightfit.Weight weight, Tensor? bias) -> Tensor");
  library.def(
      "conv2d(Tensor x, __torch__.torch.classes.tightfit.Weight weight, Tensor? bias, "
      "int[] stride, int[] padding, int[] dilation, int groups) -> Tensor");
}

TORCH_LIBRARY_IMPL(tightfit, CPU, library) {
  library.impl("linear", &tightfit::Linear);
  library.impl("conv2d", &tightfit::Conv2d);
}

// Entries of the dispatcher's table, reached once LibTorch's CUDA libraries are loaded.
TORCH_LIBRARY_IMPL(tightfit, CUDA, library) {
  library.impl("linear", &tightfit::Linear);
  library.impl("conv2d", &tightfit::Conv2d);
}
