#include "kernels/cuda/encode_task.h"

#include <algorithm>

namespace tightfit::cuda {
namespace {

int64_t DivideUp(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

// Numbers of each part of the workspace; four bytes each.
struct WorkspaceParts {
  int64_t maxima = 0;
  int64_t errors = 0;
  int64_t side_counts = 0;
};

WorkspaceParts PartsOf(const PackedLayout& layout) {
  const FormatInfo& info = InfoOf(layout.format);
  const int64_t weights = layout.rows * layout.columns;
  WorkspaceParts parts;
  if (info.scaling == Scaling::kRow) {
    parts.maxima = layout.rows;
    if (info.family == FormatFamily::kFloat) parts.errors = layout.rows * kRowScaleCandidates;
  } else if (info.scaling == Scaling::kBlock64) {
    parts.maxima = DivideUp(weights, kNormalSuperblockWeights);
  } else if (layout.side_count != 0) {
    parts.side_counts = DivideUp(weights, kSideChunkWeights);
  }
  return parts;
}

int64_t GroupsOfRow(const PackedLayout& layout) {
  return DivideUp(layout.code_columns, kGroupWeights);
}

// The largest magnitude that needs no side list, as an fp16 pattern. Below 2^-14 too it is an fp16
// number: that bounds the biases.
uint32_t SideLimit(const PackedLayout& layout) {
  double limit = LargestRaw(InfoOf(layout.format)) * 32768.0;
  for (int i = 0; i < layout.exponent_bias; ++i) limit /= 2.0;
  constexpr double kLargestFp16 = 65504.0;
  return host::F16Of(static_cast<float>(std::min(limit, kLargestFp16)));
}

}  // namespace

int64_t WorkspaceBytes(const PackedLayout& layout) {
  const WorkspaceParts parts = PartsOf(layout);
  return 4 * (parts.maxima + parts.errors + parts.side_counts);
}

bool CanEncode(const PackedLayout& layout) {
  return layout.code_rows == 0 || layout.code_columns == 0 ||
         layout.code_rows <= kMaxGroups / GroupsOfRow(layout);
}

EncodeTask EncodeTaskOf(const PackedLayout& layout, const uint16_t* fp16, uint8_t* packed,
                        void* workspace) {
  const FormatInfo& info = InfoOf(layout.format);
  const WorkspaceParts parts = PartsOf(layout);
  const auto groups_per_row = static_cast<uint32_t>(std::max<int64_t>(GroupsOfRow(layout), 1));
  auto* const numbers = static_cast<uint32_t*>(workspace);
  EncodeTask task{
      .fp16 = fp16,
      .low = packed,
      .high = packed + layout.high_plane_offset_bytes,
      .scales = reinterpret_cast<uint16_t*>(packed + layout.scale_offset_bytes),
      .block_scales = packed + layout.block_scale_offset_bytes,
      .side_positions = packed + layout.side_position_offset_bytes,
      .side_values = reinterpret_cast<uint16_t*>(packed + layout.side_value_offset_bytes),
      .maxima = numbers,
      .errors = reinterpret_cast<float*>(numbers + parts.maxima),
      .side_counts = numbers,
      .low_row_bytes = static_cast<uint64_t>(layout.low_row_bytes),
      .high_row_bytes = static_cast<uint64_t>(layout.high_row_bytes),
      .rows = static_cast<uint32_t>(layout.rows),
      .columns = static_cast<uint32_t>(layout.columns),
      .code_columns = static_cast<uint32_t>(layout.code_columns),
      .weights = static_cast<uint32_t>(layout.rows * layout.columns),
      .groups = static_cast<uint32_t>(layout.code_rows * GroupsOfRow(layout)),
      .groups_per_row = groups_per_row,
      .groups_per_row_divisor = DivisorOf(groups_per_row),
      .side_count = static_cast<uint32_t>(layout.side_count)};
  if (info.scaling == Scaling::kTensor) {
    task.side_limit = SideLimit(layout);
    task.tensor_scale = static_cast<uint32_t>(30 - layout.exponent_bias) << 10;
  } else if (info.scaling == Scaling::kRow && info.family == FormatFamily::kFloat) {
    for (int j = 0; j < kRowScaleCandidates; ++j) task.row_factors[j] = RowScaleFactor(info, j);
  }
  return task;
}

}  // namespace tightfit::cuda
