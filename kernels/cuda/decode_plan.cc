#include "kernels/cuda/decode_table.h"
#include "kernels/normal_float_levels.h"

namespace tightfit::cuda {
namespace {

bool IsAligned(const void* pointer, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

int64_t GroupsOfRow(const PackedLayout& layout) {
  return (layout.code_columns + kGroupWeights - 1) / kGroupWeights;
}

bool IsFlat(const PackedLayout& layout) {
  const FormatInfo& info = InfoOf(layout.format);
  const int64_t groups = GroupsOfRow(layout);
  if (layout.code_columns % kGroupWeights != 0) return false;
  if (layout.code_rows <= 1) return true;
  return layout.low_row_bytes == groups * kGroupWeights * info.low_plane_bits / 8 &&
         layout.high_row_bytes == groups * kGroupWeights * info.high_plane_bits / 8;
}

// S = 2^(15 - bias) as an fp16 pattern: its exponent field is 30 - bias.
uint32_t TensorScale(const PackedLayout& layout) {
  if (InfoOf(layout.format).scaling != Scaling::kTensor) return 0;
  return static_cast<uint32_t>(30 - layout.exponent_bias) << 10;
}

DecodeTensor TensorOf(const DecodeJob& job) {
  const PackedLayout& layout = job.layout;
  const auto groups_per_row = static_cast<uint32_t>(GroupsOfRow(layout));
  return {.low = job.packed,
          .high = job.packed + layout.high_plane_offset_bytes,
          .scales = job.packed + layout.scale_offset_bytes,
          .block_scales = job.packed + layout.block_scale_offset_bytes,
          .out = static_cast<uint8_t*>(job.out),
          .low_row_bytes = static_cast<uint64_t>(layout.low_row_bytes),
          .high_row_bytes = static_cast<uint64_t>(layout.high_row_bytes),
          .groups = static_cast<uint32_t>(layout.code_rows * groups_per_row),
          .groups_per_row = groups_per_row,
          .columns = static_cast<uint32_t>(layout.code_columns),
          .groups_per_row_divisor = DivisorOf(groups_per_row),
          .scale = TensorScale(layout)};
}

uint32_t BlocksFor(int64_t threads) {
  return static_cast<uint32_t>((threads + kThreadsPerBlock - 1) / kThreadsPerBlock);
}

}  // namespace

bool PlanDecode(std::span<const DecodeJob> jobs, DecodedType type, DecodePlan* plan) {
  *plan = {};
  plan->is_flat = true;
  for (uint32_t& block : plan->table.first_block) block = UINT32_MAX;
  for (uint32_t& block : plan->side.first_block) block = UINT32_MAX;
  if (jobs.size() > kMaxDecodeTensors) return false;

  size_t tensors = 0;
  size_t side_tensors = 0;
  for (const DecodeJob& job : jobs) {
    const PackedLayout& layout = job.layout;
    if (layout.format != jobs[0].layout.format) return false;
    const int64_t weights = layout.rows * layout.columns;
    if (weights == 0) continue;
    if (layout.code_rows > kMaxGroups / GroupsOfRow(layout)) return false;
    if (!IsAligned(job.packed, kPartAlignmentBytes) || !IsAligned(job.out, BytesOf(type))) {
      return false;
    }
    plan->is_flat = plan->is_flat && IsFlat(layout) && IsAligned(job.out, 16);
    DecodeTable& table = plan->table;
    table.first_block[tensors] = table.blocks;
    table.tensors[tensors] = TensorOf(job);
    table.blocks += BlocksFor(table.tensors[tensors].groups);
    ++tensors;
    if (layout.side_count == 0) continue;
    SideTable& side = plan->side;
    side.first_block[side_tensors] = side.blocks;
    side.tensors[side_tensors] = {.positions = job.packed + layout.side_position_offset_bytes,
                                  .values = job.packed + layout.side_value_offset_bytes,
                                  .out = static_cast<uint8_t*>(job.out),
                                  .count = static_cast<uint32_t>(layout.side_count),
                                  .weights = static_cast<uint32_t>(weights)};
    side.blocks += BlocksFor(layout.side_count);
    ++side_tensors;
  }
  if (jobs.empty()) return true;
  const std::span<const float> levels = NormalLevels(InfoOf(jobs[0].layout.format).level_count);
  for (int i = 0; i < kLevelTableSize && !levels.empty(); ++i) {
    plan->table.levels[i] = levels[i % levels.size()];
  }
  return true;
}

}  // namespace tightfit::cuda
