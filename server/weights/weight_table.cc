#include "server/weights/weight_table.h"

#include "kernels/cuda/encode_task.h"
#include "kernels/packed_header.h"
#include "kernels/packed_layout.h"

#include <algorithm>

namespace tightfit {
namespace {

constexpr std::string_view kWeightSuffix = ".weight";

// Of a weight that the scope takes.
std::string WhyDense(const StoredTensor& tensor, const PackingScope& scope,
                     std::string_view module) {
  if (IsExcluded(scope, module)) return "excluded by the configuration";
  if (tensor.dtype == StoredDtype::kF32) return "stored as fp32: out of fp16's range";
  return {};
}

WeightEntry EntryOf(const StoredTensor& tensor, const LayerKinds& layers,
                    const ComponentPacking& packing) {
  WeightEntry entry{.tensor = tensor, .kind = KindOf(tensor, layers)};
  const std::string_view module = ModuleOf(tensor.name);
  if (!packing.packs() || !IsInScope(packing.scope, module, entry.kind)) return entry;
  entry.why_dense = WhyDense(tensor, packing.scope, module);
  if (!entry.why_dense.empty()) return entry;
  const auto own = packing.formats_by_module.find(module);
  entry.format = own == packing.formats_by_module.end() ? packing.format : own->second;
  return entry;
}

// With the longest side list that there can be.
PackedLayout LargestLayout(WeightFormat format, const StoredTensor& tensor) {
  const int64_t rows = std::max<int64_t>(tensor.shape[0], 1);
  const int64_t side_count =
      InfoOf(format).scaling == Scaling::kTensor ? LargestSideCount(tensor.element_count) : 0;
  return LayoutOf(format, rows, tensor.element_count / rows, 0, side_count);
}

}  // namespace

bool MultipliesText(std::string_view module) {
  return module.ends_with(".attn2.to_k") || module.ends_with(".attn2.to_v");
}

int64_t LargestPackedBytes(WeightFormat format, const StoredTensor& tensor) {
  return LargestLayout(format, tensor).total_bytes;
}

std::string_view ModuleOf(std::string_view tensor) {
  const size_t dot = tensor.rfind('.');
  return dot == tensor.npos ? std::string_view() : tensor.substr(0, dot);
}

LayerKind KindOf(const StoredTensor& tensor, const LayerKinds& layers) {
  if (!std::string_view(tensor.name).ends_with(kWeightSuffix)) return LayerKind::kOther;
  const std::string_view module = ModuleOf(tensor.name);
  if (!layers.empty()) {
    const auto found = layers.find(module);
    return found == layers.end() ? LayerKind::kOther : found->second;
  }
  if (tensor.shape.size() == 2) {
    return module.ends_with("embedding") ? LayerKind::kOther : LayerKind::kLinear;
  }
  return tensor.shape.size() == 4 ? LayerKind::kConv2d : LayerKind::kOther;
}

WeightTable::WeightTable(const std::vector<StoredTensor>& tensors, const LayerKinds& layers,
                         const ComponentPacking& packing) {
  entries_.reserve(tensors.size());
  for (const StoredTensor& tensor : tensors) entries_.push_back(EntryOf(tensor, layers, packing));
}

WeightTable::WeightTable(const std::vector<CheckpointTensor>& tensors, const LayerKinds& layers,
                         bool streams_text)
    : is_checkpoint_(true) {
  entries_.reserve(tensors.size());
  for (const CheckpointTensor& tensor : tensors) {
    WeightEntry entry{.tensor = tensor.stored, .why_dense = {}};
    if (tensor.is_packed()) {
      entry.header = tensor.header();
      const PackedLayout& layout = entry.header->layout;
      entry.tensor.shape = tensor.shape();
      entry.tensor.element_count = layout.rows * layout.columns;
      entry.format = layout.format;
    }
    entry.kind = KindOf(entry.tensor, layers);
    entry.is_streamed = streams_text && entry.kind == LayerKind::kLinear &&
                        MultipliesText(ModuleOf(entry.tensor.name));
    entries_.push_back(std::move(entry));
  }
}

WeightEstimate WeightTable::Estimate(int64_t dtype_bytes, int64_t block_bytes) const {
  const auto in_blocks = [block_bytes](int64_t bytes) {
    return (bytes + block_bytes - 1) / block_bytes * block_bytes;
  };
  WeightEstimate estimate;
  int64_t largest_bytes = 0;
  int64_t largest_conv_bytes = 0;
  int64_t largest_bf16_bytes = 0;
  int64_t dense_stored_bytes = 0;
  for (const WeightEntry& entry : entries_) {
    const StoredTensor& tensor = entry.tensor;
    const int64_t dense_bytes = tensor.element_count * dtype_bytes;
    if (entry.is_streamed) {
      largest_bytes = std::max(largest_bytes, tensor.size_bytes);
      estimate.decoded_bytes = std::max(estimate.decoded_bytes, dense_bytes);
      continue;
    }
    if (entry.header.has_value()) {  // read into its place
      estimate.weight_bytes += in_blocks(tensor.size_bytes);
      estimate.decoded_bytes = std::max(estimate.decoded_bytes, dense_bytes);
      continue;
    }
    largest_bytes = std::max(largest_bytes, tensor.size_bytes);
    if (!entry.format.has_value()) {
      estimate.weight_bytes += in_blocks(dense_bytes);
      dense_stored_bytes += tensor.size_bytes;
      continue;
    }
    estimate.weight_bytes += in_blocks(LargestPackedBytes(*entry.format, tensor));
    estimate.device_staging_bytes =
        std::max(estimate.device_staging_bytes,
                 in_blocks(tensor.element_count * static_cast<int64_t>(sizeof(uint16_t))) +
                     in_blocks(cuda::WorkspaceBytes(LargestLayout(*entry.format, tensor))));
    estimate.decoded_bytes = std::max(estimate.decoded_bytes, dense_bytes);
    if (entry.kind == LayerKind::kConv2d) {
      largest_conv_bytes = std::max(largest_conv_bytes, tensor.size_bytes);
    }
    if (tensor.dtype == StoredDtype::kBF16) {
      largest_bf16_bytes = std::max(largest_bf16_bytes, tensor.size_bytes);
    }
  }
  estimate.staging_bytes =
      is_checkpoint_ ? std::max(largest_bytes, std::min(dense_stored_bytes, kReadBatchBytes))
                     : largest_bytes + largest_conv_bytes + largest_bf16_bytes;
  return estimate;
}

}  // namespace tightfit
