// Encode and decode spans of weights. The only header of kernels/ that the server calls, beside
// format.h. No LibTorch, no allocation, no exceptions; thread-safe.
#ifndef TIGHTFIT_KERNELS_CODEC_H_
#define TIGHTFIT_KERNELS_CODEC_H_

#include "kernels/format.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace tightfit {

// Layout version 1: a tensor is `rows` rows of `columns` weights. Each plane holds its rows one
// after the other, every row padded to a multiple of 16 bytes with zero codes; the low plane comes
// first. Offsets and strides are in bytes. See FORMATS.md for the order of bits inside the high
// plane.
struct PackedLayout {
  static constexpr int kVersion = 1;

  WeightFormat format;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t low_row_bytes = 0;
  int64_t high_row_bytes = 0;  // 0 where the format has one plane
  int64_t high_plane_offset_bytes = 0;
  int64_t total_bytes = 0;
};

// Requires rows >= 0, columns >= 0 and rows * columns * 2 within int64.
PackedLayout LayoutOf(WeightFormat format, int64_t rows, int64_t columns);

// Why a tensor cannot be encoded. Counts are over the whole input.
struct Representability {
  int64_t nan_count = 0;
  int64_t infinity_count = 0;
  int64_t out_of_range_count = 0;  // finite, above the format's largest value
  bool ok() const { return nan_count + infinity_count + out_of_range_count == 0; }
};

// Counts what cannot be encoded. `fp16`: IEEE binary16 patterns, any alignment of 2 bytes.
Representability CheckRepresentable(WeightFormat format, std::span<const uint16_t> fp16);

// Encodes rows [first_row, first_row + row_count) of the tensor into `packed` (layout.total_bytes,
// 16-byte aligned); `fp16` holds row_count * columns patterns. Nearest, ties to even. Requires
// every input to be representable. Different rows may be encoded by different threads. Rows outside
// the tensor end the process.
void EncodeRows(const PackedLayout& layout, int64_t first_row, int64_t row_count,
                const uint16_t* fp16, uint8_t* packed);

// Decodes weights [first_column, first_column + column_count) of `row_count` rows, out row-major
// without padding. fp16 and fp32 are exact for every format; bf16 where FormatInfo::exact_in_bf16,
// else rounded to nearest even. A range outside the tensor ends the process.
struct DecodeRange {
  int64_t first_row = 0;
  int64_t row_count = 0;
  int64_t first_column = 0;
  int64_t column_count = 0;
};
void DecodeToFp16(const PackedLayout& layout, const uint8_t* packed, DecodeRange range,
                  uint16_t* out);
void DecodeToBf16(const PackedLayout& layout, const uint8_t* packed, DecodeRange range,
                  uint16_t* out);
void DecodeToFp32(const PackedLayout& layout, const uint8_t* packed, DecodeRange range, float* out);

// "AVX3", "AVX2", ...: the instruction set that run-time dispatch chose.
const char* SimdTargetName();

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_CODEC_H_
