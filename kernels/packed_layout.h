// Where the parts of a packed tensor lie. Layout version 1; kernels/FORMATS.md section 6 draws it.
#ifndef TIGHTFIT_KERNELS_PACKED_LAYOUT_H_
#define TIGHTFIT_KERNELS_PACKED_LAYOUT_H_

#include "kernels/format.h"

#include <cstdint>

namespace tightfit {

// Sixteen consecutive weights of a code row: one group of each plane, a GPU thread's share.
inline constexpr int64_t kGroupWeights = 16;
// Parts of a packed tensor and rows of a plane start on 16-byte borders, so that vector loads are
// aligned on every device.
inline constexpr int64_t kPartAlignmentBytes = 16;
inline constexpr int64_t kScaleBlockWeights = 32;        // Scaling::kBlock32
inline constexpr int64_t kNormalBlockWeights = 64;       // Scaling::kBlock64: a uint8 scale
inline constexpr int64_t kNormalSuperblockBlocks = 256;  // an fp32 scale
inline constexpr int64_t kNormalSuperblockWeights = kNormalBlockWeights * kNormalSuperblockBlocks;
// Positions fit 32 bits; no tensor is nearly as large.
inline constexpr int64_t kMaxTensorWeights = (int64_t{1} << 32) - 1;

// A tensor is `rows` rows of `columns` weights. Offsets and sizes are in bytes from the start of
// the packed tensor:
//   low plane | high plane | scales | side list
struct PackedLayout {
  static constexpr int kVersion = 1;

  WeightFormat format;
  int64_t rows = 0;
  int64_t columns = 0;

  // Code rows: what the planes' rows hold. The tensor's rows, or, where the format codes the
  // flattened tensor (normal floats), one row of all its weights.
  int64_t code_rows = 0;
  int64_t code_columns = 0;
  int64_t low_row_bytes = 0;   // of normal floats without planes: all radix words
  int64_t high_row_bytes = 0;  // 0 where the format has one plane
  int64_t high_plane_offset_bytes = 0;

  // kRow: rows fp16; kBlock32: rows * ceil(columns / 32) fp16, row by row; kBlock64: an fp32 for
  // each superblock, then, at the next border, a uint8 for each block.
  int64_t scale_offset_bytes = 0;
  int64_t block_scale_offset_bytes = 0;  // kBlock64 only

  // kTensor: S = 2^(15 - exponent_bias); and `side_count` positions (uint32, row-major, ascending),
  // then, at the next border, as many fp16 values.
  int exponent_bias = 0;
  int64_t side_count = 0;
  int64_t side_position_offset_bytes = 0;
  int64_t side_value_offset_bytes = 0;

  int64_t total_bytes = 0;
};

// The biases that a tensor-scaled float can have: 0 .. LargestExponentBias. Beyond, its smallest
// number above 0 would be smaller than that of fp16.
constexpr int LargestExponentBias(const FormatInfo& info) { return 25 - info.mantissa_bits; }

// S of a tensor-scaled float: a power of two that fp16 holds, subnormal below 2^-14.
constexpr float TensorScale(int exponent_bias) {
  float scale = 32768.0f;
  for (int i = 0; i < exponent_bias; ++i) scale /= 2.0f;
  return scale;
}

// Radix words of normal floats whose level count is no power of two: `digits` digits, the first
// weight's the least significant, in `bits` bits. Words follow each other bit by bit, from the
// lowest bit of the first byte up.
struct RadixWord {
  int digits = 0;
  int bits = 0;
};
constexpr RadixWord RadixWordOf(const FormatInfo& info) {
  switch (info.level_count) {
    case 24:
      return {6, 28};
    case 12:
      return {5, 18};
    case 7:
      return {11, 31};
    default:
      return {};
  }
}

// Requires a shape that IsPackableShape, and bias and count within their bounds (0 where the format
// has none).
PackedLayout LayoutOf(WeightFormat format, int64_t rows, int64_t columns, int exponent_bias = 0,
                      int64_t side_count = 0);

// rows >= 0, columns >= 0 and at most kMaxTensorWeights of each and of their product.
bool IsPackableShape(int64_t rows, int64_t columns);

// Blocks are encoded independently of each other: block b holds weights [b * block_weights, ...) of
// the flattened tensor. A row; of normal floats, as many superblocks as end on a byte.
int64_t EncodeBlockWeights(const PackedLayout& layout);
int64_t EncodeBlockCount(const PackedLayout& layout);

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_PACKED_LAYOUT_H_
