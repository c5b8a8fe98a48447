#include "server/weights/weight.h"

#include "kernels/packed_header.h"

#include <utility>

namespace tightfit {

at::Tensor CopyOf(const at::Tensor& tensor, at::Device device) {
  const bool pinned = device.is_cpu() && tensor.is_cuda();
  return at::empty_strided(tensor.sizes(), tensor.strides(),
                           tensor.options().device(device).pinned_memory(pinned))
      .copy_(tensor);
}

void Weight::SetDense(at::Tensor dense) {
  shape_ = dense.sizes().vec();
  layout_.reset();
  tensor_ = std::move(dense);
}

void Weight::SetPacked(const PackedLayout& layout, std::vector<int64_t> shape, at::Tensor codes) {
  const std::optional<RowsAndColumns> size = PackedRowsAndColumns(shape);
  TORCH_CHECK(size.has_value() && layout.rows == size->rows && layout.columns == size->columns,
              "a packed weight of shape ", at::IntArrayRef(shape), " has another layout");
  TORCH_CHECK(codes.scalar_type() == at::kByte && codes.is_contiguous() &&
                  codes.numel() == layout.total_bytes,
              "a packed weight of shape ", at::IntArrayRef(shape), " has other codes");
  shape_ = std::move(shape);
  layout_ = layout;
  tensor_ = std::move(codes);
}

void Weight::Clear() {
  layout_.reset();
  shape_.clear();
  tensor_.reset();
}

Weight Weight::CopyTo(at::Device device) const {
  Weight copy;
  copy.shape_ = shape_;
  copy.layout_ = layout_;
  if (tensor_.defined()) copy.tensor_ = CopyOf(tensor_, device);
  return copy;
}

void Weight::Swap(Weight& other) {
  std::swap(shape_, other.shape_);
  std::swap(layout_, other.layout_);
  std::swap(tensor_, other.tensor_);
}

}  // namespace tightfit
