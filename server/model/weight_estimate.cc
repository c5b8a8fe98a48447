#include "server/model/weight_estimate.h"

#include "kernels/packed_header.h"
#include "kernels/packed_layout.h"

#include <algorithm>
#include <string_view>

namespace tightfit {
namespace {

constexpr std::string_view kWeightSuffix = ".weight";

bool IsPacked(const StoredTensor& tensor, const PackingScope& scope) {
  if (tensor.dtype != StoredDtype::kF16) return false;
  const std::string_view name = tensor.name;
  const std::string_view module = name.substr(0, name.rfind('.'));
  return IsInScope(scope, module, KindOf(tensor)) && !IsExcluded(scope, module);
}

int64_t PackedBytes(WeightFormat format, const StoredTensor& tensor) {
  const int64_t rows = std::max<int64_t>(tensor.shape[0], 1);
  const int64_t side_count =
      InfoOf(format).scaling == Scaling::kTensor ? LargestSideCount(tensor.element_count) : 0;
  return kPackedHeaderBytes +
         LayoutOf(format, rows, tensor.element_count / rows, 0, side_count).total_bytes;
}

}  // namespace

LayerKind KindOf(const StoredTensor& tensor) {
  if (!std::string_view(tensor.name).ends_with(kWeightSuffix)) return LayerKind::kOther;
  if (tensor.shape.size() == 2) return LayerKind::kLinear;
  return tensor.shape.size() == 4 ? LayerKind::kConv2d : LayerKind::kOther;
}

WeightEstimate EstimateWeights(const std::vector<StoredTensor>& tensors,
                               std::optional<WeightFormat> format, const PackingScope& scope,
                               int64_t dtype_bytes, int64_t block_bytes) {
  const auto in_blocks = [block_bytes](int64_t bytes) {
    return (bytes + block_bytes - 1) / block_bytes * block_bytes;
  };
  WeightEstimate estimate;
  int64_t largest_bytes = 0;
  int64_t largest_conv_bytes = 0;
  for (const StoredTensor& tensor : tensors) {
    largest_bytes = std::max(largest_bytes, tensor.size_bytes);
    const int64_t dense_bytes = tensor.element_count * dtype_bytes;
    if (!format.has_value() || !IsPacked(tensor, scope)) {
      estimate.weight_bytes += in_blocks(dense_bytes);
      continue;
    }
    estimate.weight_bytes += in_blocks(PackedBytes(*format, tensor));
    estimate.decoded_bytes = std::max(estimate.decoded_bytes, dense_bytes);
    if (tensor.shape.size() == 4) {
      largest_conv_bytes = std::max(largest_conv_bytes, tensor.size_bytes);
    }
  }
  estimate.staging_bytes = largest_bytes + largest_conv_bytes;
  return estimate;
}

}  // namespace tightfit
