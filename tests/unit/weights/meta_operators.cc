// Operators that LibTorch lacks for its device "meta", whose tensors have shapes and no values.
// They refuse tensors of another device, as those of a GPU do.
#include "tests/unit/weights/meta_operators.h"

#include "server/weights/weight.h"

#include <torch/library.h>
#include <torch/script.h>

#include <optional>
#include <tuple>
#include <vector>

namespace tightfit {
namespace {

bool IsMeta(const std::optional<at::Tensor>& tensor) {
  return !tensor.has_value() || !tensor->defined() || tensor->is_meta();
}

at::Tensor ConvolutionOfMeta(const at::Tensor& input, const at::Tensor& weight,
                             const std::optional<at::Tensor>& bias, at::IntArrayRef stride,
                             at::IntArrayRef padding, at::IntArrayRef dilation, bool,
                             at::IntArrayRef, int64_t) {
  TORCH_CHECK(input.is_meta() && weight.is_meta() && IsMeta(bias));
  std::vector<int64_t> shape = {input.size(0), weight.size(0)};
  for (int i = 0; i < 2; ++i) {
    const int64_t reach = dilation[i] * (weight.size(i + 2) - 1) + 1;
    shape.push_back((input.size(i + 2) + 2 * padding[i] - reach) / stride[i] + 1);
  }
  return at::empty(shape, input.options());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> GroupNormOfMeta(
    const at::Tensor& input, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& bias, int64_t n, int64_t, int64_t, int64_t group, double) {
  TORCH_CHECK(input.is_meta() && IsMeta(weight) && IsMeta(bias));
  const at::Tensor statistic = at::empty({n, group}, input.options());
  return {at::empty_like(input), statistic, statistic};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> LayerNormOfMeta(
    const at::Tensor& input, at::IntArrayRef, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& bias, double) {
  TORCH_CHECK(input.is_meta() && IsMeta(weight) && IsMeta(bias));
  const at::Tensor statistic = at::empty({input.numel() / input.size(-1)}, input.options());
  return {at::empty_like(input), statistic, statistic};
}

at::Tensor AttentionOfMeta(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           const std::optional<at::Tensor>& mask, double, bool,
                           std::optional<double>, bool) {
  TORCH_CHECK(query.is_meta() && key.is_meta() && value.is_meta() && IsMeta(mask));
  return at::empty_like(query);
}

at::Tensor IndexSelectOfMeta(const at::Tensor& self, int64_t dim, const at::Tensor& index) {
  TORCH_CHECK(self.is_meta() && index.is_meta());
  std::vector<int64_t> shape = self.sizes().vec();
  shape[dim] = index.numel();
  return at::empty(shape, self.options());
}

at::Tensor LinearOfMeta(const at::Tensor& x, const c10::intrusive_ptr<Weight>& weight,
                        const std::optional<at::Tensor>& bias) {
  return at::linear(x, weight->tensor(), bias);
}

at::Tensor Conv2dOfMeta(const at::Tensor& x, const c10::intrusive_ptr<Weight>& weight,
                        const std::optional<at::Tensor>& bias, at::IntArrayRef stride,
                        at::IntArrayRef padding, at::IntArrayRef dilation, int64_t groups) {
  return at::conv2d(x, weight->tensor(), bias, stride, padding, dilation, groups);
}

}  // namespace

// Not when the program starts: the class of weights may not be registered then.
void RegisterWeightOperatorsOfMeta() {
  static torch::Library library(torch::Library::IMPL, "tightfit", c10::DispatchKey::Meta, __FILE__,
                                __LINE__);
  static const bool registered = [] {
    library.impl("linear", &LinearOfMeta);
    library.impl("conv2d", &Conv2dOfMeta);
    return true;
  }();
  static_cast<void>(registered);
}

}  // namespace tightfit

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("convolution_overrideable", &tightfit::ConvolutionOfMeta);
  library.impl("native_group_norm", &tightfit::GroupNormOfMeta);
  library.impl("native_layer_norm", &tightfit::LayerNormOfMeta);
  library.impl("scaled_dot_product_attention", &tightfit::AttentionOfMeta);
  library.impl("index_select", &tightfit::IndexSelectOfMeta);
}
