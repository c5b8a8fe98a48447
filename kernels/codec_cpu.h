// The CPU's row codecs behind codec.h, compiled once per instruction set and chosen at run time:
// every format but the normal floats. No checks here: codec.cc has made them.
#ifndef TIGHTFIT_KERNELS_CODEC_CPU_H_
#define TIGHTFIT_KERNELS_CODEC_CPU_H_

#include "kernels/codec.h"
#include "kernels/format.h"

#include <cstdint>
#include <type_traits>

namespace tightfit::cpu {

// Consecutive rows of a packed tensor: where the first one starts in each plane and how far apart
// they lie. `high` is not read where the format has one plane. Byte is uint8_t or const uint8_t.
template <typename Byte>
struct PackedRows {
  using Scale = std::conditional_t<std::is_const_v<Byte>, const uint16_t, uint16_t>;

  Byte* low = nullptr;
  Byte* high = nullptr;
  int64_t low_row_bytes = 0;
  int64_t high_row_bytes = 0;
  int64_t row_count = 0;
  // fp16: scales_per_row for each row, or, where there are none, one for all.
  Scale* scales = nullptr;
  int64_t scales_per_row = 0;
  uint16_t tensor_scale = 0;
};

// `fp16` holds rows.row_count * columns patterns. Writes every byte of the rows, padding included,
// and reads their scales.
void EncodeRows(WeightFormat format, const PackedRows<uint8_t>& rows, int64_t columns,
                const uint16_t* fp16);

// Writes the scales of these rows, or of blocks within them, which the format has.
void ChooseScales(WeightFormat format, const PackedRows<uint8_t>& rows, int64_t columns,
                  const uint16_t* fp16);

// Decodes weights [first_column, first_column + column_count) of each row; `out` has no padding.
void DecodeToFp16(WeightFormat format, const PackedRows<const uint8_t>& rows, int64_t first_column,
                  int64_t column_count, uint16_t* out);
void DecodeToBf16(WeightFormat format, const PackedRows<const uint8_t>& rows, int64_t first_column,
                  int64_t column_count, uint16_t* out);
void DecodeToFp32(WeightFormat format, const PackedRows<const uint8_t>& rows, int64_t first_column,
                  int64_t column_count, float* out);

// `largest` is the largest fp16 magnitude that is no miss.
Representability CountUnrepresentable(uint16_t largest, const uint16_t* fp16, int64_t count);

// The largest magnitude, as a pattern.
uint16_t LargestMagnitude(const uint16_t* fp16, int64_t count);

const char* SimdTargetName();

}  // namespace tightfit::cpu

#endif  // TIGHTFIT_KERNELS_CODEC_CPU_H_
