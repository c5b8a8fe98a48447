#include "kernels/codec.h"

#include "kernels/codec_cpu.h"

#include <hwy/base.h>

namespace tightfit {
namespace {

// Rows start on 16-byte borders, so that vector loads of either plane are aligned on every device.
constexpr int64_t kRowAlignmentBytes = 16;
// The high plane is ordered in groups of 16 weights; a started group is stored whole.
constexpr int64_t kGroupWeights = 16;

constexpr int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// The fp16 pattern of a positive number that fp16 holds exactly, normal and below 2.
constexpr uint16_t Fp16OfExact(double value) {
  int exponent = 15;
  while (value < 1.0) {
    value *= 2.0;
    --exponent;
  }
  return static_cast<uint16_t>(exponent << 10 | static_cast<int>((value - 1.0) * 1024.0));
}

// True where nothing lies between the rows: a range of whole rows is then one long row.
bool RowsAreDense(const PackedLayout& layout) {
  return layout.low_row_bytes == layout.columns &&
         layout.high_row_bytes * 8 == layout.columns * InfoOf(layout.format).high_plane_bits;
}

template <typename Byte>
cpu::PackedRows<Byte> RowsAt(const PackedLayout& layout, Byte* packed, int64_t first_row,
                             int64_t row_count) {
  return {
      .low = packed + first_row * layout.low_row_bytes,
      .high = packed + layout.high_plane_offset_bytes + first_row * layout.high_row_bytes,
      .low_row_bytes = layout.low_row_bytes,
      .high_row_bytes = layout.high_row_bytes,
      .row_count = row_count,
  };
}

template <typename Out>
void DecodeSpan(void (*decode)(WeightFormat, const cpu::PackedRows<const uint8_t>&, int64_t,
                               int64_t, Out*),
                const PackedLayout& layout, const uint8_t* packed, DecodeRange range, Out* out) {
  HWY_ASSERT(0 <= range.first_row && 0 <= range.row_count &&
             range.first_row <= layout.rows - range.row_count);
  HWY_ASSERT(0 <= range.first_column && 0 <= range.column_count &&
             range.first_column <= layout.columns - range.column_count);
  if (range.row_count == 0 || range.column_count == 0) return;
  cpu::PackedRows<const uint8_t> rows = RowsAt(layout, packed, range.first_row, range.row_count);
  if (range.column_count == layout.columns && RowsAreDense(layout)) {
    rows.row_count = 1;
    range.column_count *= range.row_count;
  }
  decode(layout.format, rows, range.first_column, range.column_count, out);
}

}  // namespace

PackedLayout LayoutOf(WeightFormat format, int64_t rows, int64_t columns) {
  HWY_ASSERT(rows >= 0 && columns >= 0);
  const FormatInfo& info = InfoOf(format);
  const int64_t group_bytes = kGroupWeights * info.high_plane_bits / 8;
  const int64_t groups = RoundUp(columns, kGroupWeights) / kGroupWeights;
  PackedLayout layout{.format = format, .rows = rows, .columns = columns};
  layout.low_row_bytes = RoundUp(columns, kRowAlignmentBytes);
  layout.high_row_bytes = RoundUp(groups * group_bytes, kRowAlignmentBytes);
  layout.high_plane_offset_bytes = rows * layout.low_row_bytes;
  layout.total_bytes = layout.high_plane_offset_bytes + rows * layout.high_row_bytes;
  return layout;
}

Representability CheckRepresentable(WeightFormat format, std::span<const uint16_t> fp16) {
  return cpu::CountUnrepresentable(Fp16OfExact(InfoOf(format).max_value), fp16.data(),
                                   static_cast<int64_t>(fp16.size()));
}

void EncodeRows(const PackedLayout& layout, int64_t first_row, int64_t row_count,
                const uint16_t* fp16, uint8_t* packed) {
  HWY_ASSERT(0 <= first_row && 0 <= row_count && first_row <= layout.rows - row_count);
  if (row_count == 0 || layout.columns == 0) return;
  cpu::PackedRows<uint8_t> rows = RowsAt(layout, packed, first_row, row_count);
  int64_t columns = layout.columns;
  if (RowsAreDense(layout)) {
    rows.low_row_bytes *= row_count;
    rows.high_row_bytes *= row_count;
    rows.row_count = 1;
    columns *= row_count;
  }
  cpu::EncodeRows(layout.format, rows, columns, fp16);
}

void DecodeToFp16(const PackedLayout& layout, const uint8_t* packed, DecodeRange range,
                  uint16_t* out) {
  DecodeSpan(&cpu::DecodeToFp16, layout, packed, range, out);
}

void DecodeToBf16(const PackedLayout& layout, const uint8_t* packed, DecodeRange range,
                  uint16_t* out) {
  DecodeSpan(&cpu::DecodeToBf16, layout, packed, range, out);
}

void DecodeToFp32(const PackedLayout& layout, const uint8_t* packed, DecodeRange range,
                  float* out) {
  DecodeSpan(&cpu::DecodeToFp32, layout, packed, range, out);
}

const char* SimdTargetName() { return cpu::SimdTargetName(); }

}  // namespace tightfit
