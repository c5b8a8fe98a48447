#include "kernels/packed_layout.h"

#include <hwy/base.h>

#include <algorithm>

namespace tightfit {
namespace {

constexpr int64_t DivideUp(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

constexpr int64_t ToBorder(int64_t bytes) {
  return DivideUp(bytes, kPartAlignmentBytes) * kPartAlignmentBytes;
}

// A started group is stored whole.
int64_t PlaneRowBytes(int64_t columns, int bits) {
  return ToBorder(DivideUp(columns, kGroupWeights) * kGroupWeights * bits / 8);
}

}  // namespace

bool IsPackableShape(int64_t rows, int64_t columns) {
  if (rows < 0 || columns < 0 || rows > kMaxTensorWeights || columns > kMaxTensorWeights) {
    return false;
  }
  return rows == 0 || columns <= kMaxTensorWeights / rows;
}

PackedLayout LayoutOf(WeightFormat format, int64_t rows, int64_t columns, int exponent_bias,
                      int64_t side_count) {
  HWY_ASSERT(IsPackableShape(rows, columns));
  const FormatInfo& info = InfoOf(format);
  const bool has_bias = info.scaling == Scaling::kTensor;
  HWY_ASSERT(0 <= exponent_bias && exponent_bias <= (has_bias ? LargestExponentBias(info) : 0));
  HWY_ASSERT(0 <= side_count && side_count <= (has_bias ? rows * columns : 0));

  PackedLayout layout{.format = format, .rows = rows, .columns = columns};
  const bool is_flat = info.family == FormatFamily::kNormalFloat;
  const int64_t weights = rows * columns;
  layout.code_rows = is_flat ? std::min<int64_t>(weights, 1) : rows;
  layout.code_columns = is_flat ? weights : columns;
  if (const RadixWord word = RadixWordOf(info); word.digits != 0) {
    layout.low_row_bytes = ToBorder(DivideUp(DivideUp(weights, word.digits) * word.bits, 8));
  } else {
    layout.low_row_bytes = PlaneRowBytes(layout.code_columns, info.low_plane_bits);
    layout.high_row_bytes = PlaneRowBytes(layout.code_columns, info.high_plane_bits);
  }

  int64_t end = layout.code_rows * layout.low_row_bytes;
  const auto add_part = [&end](int64_t bytes) {
    const int64_t offset = end;
    end += ToBorder(bytes);
    return offset;
  };
  layout.high_plane_offset_bytes = add_part(layout.code_rows * layout.high_row_bytes);
  layout.scale_offset_bytes = end;
  switch (info.scaling) {
    case Scaling::kNone:
    case Scaling::kTensor:
      break;
    case Scaling::kRow:
      add_part(columns == 0 ? 0 : rows * 2);
      break;
    case Scaling::kBlock32:
      add_part(rows * DivideUp(columns, kScaleBlockWeights) * 2);
      break;
    case Scaling::kBlock64:
      add_part(DivideUp(weights, kNormalSuperblockWeights) * 4);
      layout.block_scale_offset_bytes = add_part(DivideUp(weights, kNormalBlockWeights));
      break;
  }
  layout.exponent_bias = exponent_bias;
  layout.side_count = side_count;
  layout.side_position_offset_bytes = add_part(side_count * 4);
  layout.side_value_offset_bytes = add_part(side_count * 2);
  layout.total_bytes = end;
  return layout;
}

int64_t EncodeBlockWeights(const PackedLayout& layout) {
  const FormatInfo& info = InfoOf(layout.format);
  if (info.family != FormatFamily::kNormalFloat) return layout.columns;
  // Superblocks times digits are whole words, and their bits whole bytes.
  return kNormalSuperblockWeights * std::max(1, RadixWordOf(info).digits);
}

int64_t EncodeBlockCount(const PackedLayout& layout) {
  const int64_t block = EncodeBlockWeights(layout);
  return block == 0 ? 0 : DivideUp(layout.rows * layout.columns, block);
}

}  // namespace tightfit
