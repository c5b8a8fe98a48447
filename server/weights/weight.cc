#include "server/weights/weight.h"

#include <utility>

namespace tightfit {
namespace {

struct RowsAndColumns {
  int64_t rows = 0;
  int64_t columns = 1;
};

RowsAndColumns RowsAndColumnsOf(at::IntArrayRef shape) {
  TORCH_CHECK(!shape.empty(), "a weight has at least one dimension");
  RowsAndColumns size{.rows = shape[0]};
  for (const int64_t dimension : shape.slice(1)) size.columns *= dimension;
  return size;
}

}  // namespace

void Weight::SetDense(at::Tensor dense) {
  shape_ = dense.sizes().vec();
  layout_.reset();
  tensor_ = std::move(dense);
}

void Weight::SetPacked(const PackedLayout& layout, std::vector<int64_t> shape, at::Tensor codes) {
  const RowsAndColumns size = RowsAndColumnsOf(shape);
  TORCH_CHECK(layout.rows == size.rows && layout.columns == size.columns,
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
  if (tensor_.defined()) {
    copy.tensor_ = tensor_.to(tensor_.options().device(device), /*non_blocking=*/false,
                              /*copy=*/true);
  }
  return copy;
}

void Weight::Swap(Weight& other) {
  std::swap(shape_, other.shape_);
  std::swap(layout_, other.layout_);
  std::swap(tensor_, other.tensor_);
}

}  // namespace tightfit
