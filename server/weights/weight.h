// Weight: what one Linear or Conv2d multiplies by, checked once when it is made. Graphs hold it as
// an object (torch::CustomClassHolder) and hand it to the operators of weights/operators.h, so that
// nothing about it is looked up or parsed at a call.
//
// A packed weight is the codes of kernels/packed_layout.h; those of a Conv2d [K, C, R, S] lie in
// the order K, R, S, C, so K rows of R*S*C. A dense one is a tensor of the graph's dtype. Made and
// used by the thread that runs its component.
#ifndef TIGHTFIT_SERVER_WEIGHTS_WEIGHT_H_
#define TIGHTFIT_SERVER_WEIGHTS_WEIGHT_H_

#include "kernels/packed_layout.h"

#include <torch/custom_class.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace tightfit {

// A copy in the memory of `device`; of a GPU's tensor, host memory is pinned, so that it comes back
// at the bus's speed. May throw what LibTorch throws.
at::Tensor CopyOf(const at::Tensor& tensor, at::Device device);

class Weight final : public torch::CustomClassHolder {
 public:
  // Holds nothing yet.
  Weight() = default;

  // Takes a tensor as it is. `dense`: [N, K] or [K, C, R, S].
  void SetDense(at::Tensor dense);
  // Takes codes. `codes`: uint8 of layout.total_bytes, contiguous, on any device; `shape`: of the
  // dense weight, whose rows and columns are the layout's. Throws c10::Error if they do not fit.
  void SetPacked(const PackedLayout& layout, std::vector<int64_t> shape, at::Tensor codes);
  // Frees what it holds.
  void Clear();
  // Copies what it holds to the memory of `device`. May throw what LibTorch throws; then nothing
  // has changed.
  Weight CopyTo(at::Device device) const;
  void Swap(Weight& other);

  bool is_packed() const { return layout_.has_value(); }
  // Of a packed weight.
  const PackedLayout& layout() const { return *layout_; }
  const uint8_t* codes() const { return tensor_.const_data_ptr<uint8_t>(); }
  // Of the dense weight, whether packed or not.
  const std::vector<int64_t>& shape() const { return shape_; }
  // The dense tensor, or the codes. Undefined if it holds nothing.
  const at::Tensor& tensor() const { return tensor_; }
  int64_t size_bytes() const { return static_cast<int64_t>(tensor_.nbytes()); }

 private:
  std::vector<int64_t> shape_;
  std::optional<PackedLayout> layout_;
  at::Tensor tensor_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_WEIGHT_H_
