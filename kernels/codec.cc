#include "kernels/codec.h"

#include "kernels/codec_cpu.h"
#include "kernels/fp16.h"
#include "kernels/normal_float_cpu.h"
#include "kernels/side_list.h"

#include <hwy/base.h>

#include <algorithm>
#include <cstring>

namespace tightfit {
namespace {

// Enough weights that a task outweighs its start.
constexpr int64_t kWeightsPerTask = 1 << 16;

bool IsNormalFloat(const PackedLayout& layout) {
  return InfoOf(layout.format).family == FormatFamily::kNormalFloat;
}

// True where nothing lies between the rows and no row has scales of its own: a range of whole rows
// is then one long row.
bool RowsAreDense(const PackedLayout& layout) {
  const FormatInfo& info = InfoOf(layout.format);
  const bool scales = info.scaling == Scaling::kRow || info.scaling == Scaling::kBlock32;
  return !scales && layout.low_row_bytes * 8 == layout.columns * info.low_plane_bits &&
         layout.high_row_bytes * 8 == layout.columns * info.high_plane_bits;
}

template <typename Byte>
cpu::PackedRows<Byte> RowsAt(const PackedLayout& layout, Byte* packed, int64_t first_row,
                             int64_t row_count) {
  cpu::PackedRows<Byte> rows{
      .low = packed + first_row * layout.low_row_bytes,
      .high = packed + layout.high_plane_offset_bytes + first_row * layout.high_row_bytes,
      .low_row_bytes = layout.low_row_bytes,
      .high_row_bytes = layout.high_row_bytes,
      .row_count = row_count,
  };
  switch (InfoOf(layout.format).scaling) {
    case Scaling::kTensor:
      rows.tensor_scale = Fp16OfFp32(TensorScale(layout.exponent_bias));
      break;
    case Scaling::kRow:
      rows.scales_per_row = 1;
      break;
    case Scaling::kBlock32:
      rows.scales_per_row = (layout.columns + kScaleBlockWeights - 1) / kScaleBlockWeights;
      break;
    case Scaling::kNone:
    case Scaling::kBlock64:
      break;
  }
  if (rows.scales_per_row != 0) {
    using Scale = typename cpu::PackedRows<Byte>::Scale;
    rows.scales = reinterpret_cast<Scale*>(packed + layout.scale_offset_bytes) +
                  first_row * rows.scales_per_row;
  }
  return rows;
}

// What decodes to one type of number: rows of planes, or the flattened normal floats.
template <typename Out>
struct Decoders {
  void (*rows)(WeightFormat, const cpu::PackedRows<const uint8_t>&, int64_t, int64_t, Out*);
  void (*normal_floats)(const PackedLayout&, const uint8_t*, int64_t, int64_t, Out*);
  Out (*side_value)(uint16_t fp16);
};

// Calls work(first, count, out) for each run of weights that lie one after the other in the
// flattened tensor and in `out`.
template <typename Out, typename Work>
void ForRuns(const PackedLayout& layout, DecodeRange range, Out* out, Work work) {
  int64_t run_count = range.row_count;
  int64_t run = range.column_count;
  if (range.column_count == layout.columns) {
    run *= run_count;
    run_count = 1;
  }
  for (int64_t i = 0; i < run_count; ++i) {
    work((range.first_row + i) * layout.columns + range.first_column, run, out + i * run);
  }
}

template <typename Out>
void DecodeSpan(const Decoders<Out>& decoders, const PackedLayout& layout, const uint8_t* packed,
                DecodeRange range, Out* out) {
  HWY_ASSERT(0 <= range.first_row && 0 <= range.row_count &&
             range.first_row <= layout.rows - range.row_count);
  HWY_ASSERT(0 <= range.first_column && 0 <= range.column_count &&
             range.first_column <= layout.columns - range.column_count);
  if (range.row_count == 0 || range.column_count == 0) return;
  if (IsNormalFloat(layout)) {
    ForRuns(layout, range, out, [&](int64_t first, int64_t count, Out* run_out) {
      decoders.normal_floats(layout, packed, first, count, run_out);
    });
    return;
  }
  cpu::PackedRows<const uint8_t> rows = RowsAt(layout, packed, range.first_row, range.row_count);
  int64_t column_count = range.column_count;
  if (column_count == layout.columns && RowsAreDense(layout)) {
    rows.row_count = 1;
    column_count *= range.row_count;
  }
  decoders.rows(layout.format, rows, range.first_column, column_count, out);
  if (layout.side_count == 0) return;
  ForRuns(layout, range, out, [&](int64_t first, int64_t count, Out* run_out) {
    ForSideListEntries(layout, packed, first, count, [&](int64_t index, uint16_t fp16) {
      run_out[index] = decoders.side_value(fp16);
    });
  });
}

// The scales' part is filled up to its border.
void ClearScalePadding(const PackedLayout& layout, uint8_t* packed) {
  const int64_t weights = layout.rows * layout.columns;
  if (weights == 0) return;
  const auto clear = [packed](int64_t begin, int64_t end) {
    std::memset(packed + begin, 0, end - begin);
  };
  const int64_t end = layout.side_position_offset_bytes;
  if (IsNormalFloat(layout)) {
    const auto up = [weights](int64_t divisor) { return (weights + divisor - 1) / divisor; };
    clear(layout.scale_offset_bytes + up(kNormalSuperblockWeights) * 4,
          layout.block_scale_offset_bytes);
    clear(layout.block_scale_offset_bytes + up(kNormalBlockWeights), end);
    return;
  }
  const int64_t scales = layout.rows * RowsAt(layout, packed, 0, 0).scales_per_row;
  if (scales != 0) clear(layout.scale_offset_bytes + scales * 2, end);
}

}  // namespace

void EncodeBlocks(const PackedLayout& layout, int64_t first_block, int64_t block_count,
                  const uint16_t* fp16, uint8_t* packed) {
  HWY_ASSERT(0 <= first_block && 0 <= block_count &&
             first_block <= EncodeBlockCount(layout) - block_count);
  if (block_count == 0) return;
  if (IsNormalFloat(layout)) {
    const int64_t first = first_block * EncodeBlockWeights(layout);
    const int64_t count =
        std::min(block_count * EncodeBlockWeights(layout), layout.rows * layout.columns - first);
    cpu::EncodeNormalFloats(layout, first, count, fp16, packed);
    return;
  }
  cpu::PackedRows<uint8_t> rows = RowsAt(layout, packed, first_block, block_count);
  int64_t columns = layout.columns;
  if (rows.scales != nullptr) cpu::ChooseScales(layout.format, rows, columns, fp16);
  if (RowsAreDense(layout)) {
    rows.low_row_bytes *= block_count;
    rows.high_row_bytes *= block_count;
    rows.row_count = 1;
    columns *= block_count;
  }
  cpu::EncodeRows(layout.format, rows, columns, fp16);
}

void EncodeSideList(const PackedLayout& layout, const uint16_t* fp16, uint8_t* packed) {
  WriteSideList(layout, fp16, packed);
}

void EncodeTensor(const PackedLayout& layout, const uint16_t* fp16, uint8_t* packed,
                  const ParallelFor& parallel_for) {
  const int64_t block_weights = EncodeBlockWeights(layout);
  const int64_t block_count = EncodeBlockCount(layout);
  const auto encode = [&](int64_t begin, int64_t end) {
    EncodeBlocks(layout, begin, end - begin, fp16 + begin * block_weights, packed);
  };
  if (parallel_for && block_count > 0) {
    parallel_for(block_count, std::max<int64_t>(1, kWeightsPerTask / block_weights), encode);
  } else {
    encode(0, block_count);
  }
  ClearScalePadding(layout, packed);
  EncodeSideList(layout, fp16, packed);
}

void DecodeToFp16(const PackedLayout& layout, const uint8_t* packed, DecodeRange range,
                  uint16_t* out) {
  DecodeSpan<uint16_t>({.rows = &cpu::DecodeToFp16,
                        .normal_floats = &cpu::DecodeNormalToFp16,
                        .side_value = [](uint16_t fp16) { return fp16; }},
                       layout, packed, range, out);
}

void DecodeToBf16(const PackedLayout& layout, const uint8_t* packed, DecodeRange range,
                  uint16_t* out) {
  DecodeSpan<uint16_t>({.rows = &cpu::DecodeToBf16,
                        .normal_floats = &cpu::DecodeNormalToBf16,
                        .side_value = &Bf16OfFp16},
                       layout, packed, range, out);
}

void DecodeToFp32(const PackedLayout& layout, const uint8_t* packed, DecodeRange range,
                  float* out) {
  DecodeSpan<float>({.rows = &cpu::DecodeToFp32,
                     .normal_floats = &cpu::DecodeNormalToFp32,
                     .side_value = &Fp32OfFp16},
                    layout, packed, range, out);
}

const char* SimdTargetName() { return cpu::SimdTargetName(); }

}  // namespace tightfit
