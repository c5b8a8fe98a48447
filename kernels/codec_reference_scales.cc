// Floats and integers with a scale: the choice of S, and weights by it. Every product, quotient and
// sum of two floats below is rounded to fp32 by itself, as FORMATS.md wants; the build forbids the
// compiler to fuse them.
#include "kernels/codec_reference.h"
#include "kernels/codec_reference_parts.h"
#include "kernels/row_scale_candidates.h"

#include <hwy/base.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace tightfit::reference {
namespace {

float FloatOfFp16(uint16_t fp16) { return static_cast<float>(ValueOfFp16(fp16)); }

float LargestMagnitude(std::span<const uint16_t> weights) {
  float largest = 0.0f;
  for (const uint16_t x : weights) largest = std::max(largest, std::abs(FloatOfFp16(x)));
  return largest;
}

// x in units of raw.
float InUnitsOfRaw(uint16_t fp16, float scale) {
  const float x = FloatOfFp16(fp16);
  if (scale == 0.0f) return std::copysign(0.0f, x);
  const float inverse = 1.0f / scale;
  return x * inverse;
}

uint32_t CodeOf(WeightFormat format, uint16_t fp16, float scale) {
  return NearestRawCode(format, InUnitsOfRaw(fp16, scale));
}

// The error of a row of floats at this scale.
float RowError(WeightFormat format, std::span<const uint16_t> row, float scale) {
  std::array<float, 16> parts{};
  for (size_t column = 0; column < row.size(); ++column) {
    const float y = InUnitsOfRaw(row[column], scale);
    const float e = y - FloatOfFp16(DecodeCode(format, NearestRawCode(format, y)));
    const float squared = e * e;
    parts[column % 16] = parts[column % 16] + squared;
  }
  for (size_t i = 0; i < 8; ++i) parts[i] = parts[i] + parts[i + 8];
  for (size_t i = 0; i < 4; ++i) parts[i] = parts[i] + parts[i + 4];
  for (size_t i = 0; i < 2; ++i) parts[i] = parts[i] + parts[i + 2];
  const float sum = parts[0] + parts[1];
  const float scale_squared = scale * scale;
  return scale_squared * sum;
}

// S of a row of floats: the best of the candidates, as an fp16 pattern.
uint16_t BestRowScale(WeightFormat format, std::span<const uint16_t> row) {
  const float a = LargestMagnitude(row);
  if (a == 0.0f) return 0;
  uint16_t best_scale = 0;
  float best_error = 0.0f;
  for (int j = 0; j < kRowScaleCandidates; ++j) {
    const float product = a * RowScaleFactor(InfoOf(format), j);
    const uint16_t scale = Fp16OfValue(product);
    if (std::isinf(ValueOfFp16(scale))) break;  // as are all the larger ones
    const float error = RowError(format, row, FloatOfFp16(scale));
    if (j == 0 || error < best_error) {
      best_scale = scale;
      best_error = error;
    }
  }
  return best_scale;
}

bool IsExactAt(WeightFormat format, std::span<const uint16_t> weights, float scale) {
  return std::ranges::all_of(weights, [&](uint16_t x) {
    const float product = FloatOfFp16(DecodeCode(format, CodeOf(format, x, scale))) * scale;
    return FloatOfFp16(Fp16OfValue(product)) == FloatOfFp16(x);
  });
}

// S of a row or block of integers, as an fp16 pattern: the usual one, the number below it, the
// number above it, whichever is the first that makes every weight exact; or else the usual one.
uint16_t IntegerScale(WeightFormat format, std::span<const uint16_t> weights) {
  const float factor = 128.0f / 127.0f;
  const uint16_t usual = Fp16OfValue(LargestMagnitude(weights) * factor);
  if (usual == 0) return usual;
  for (const int each : {usual + 0, usual - 1, usual + 1}) {
    const auto pattern = static_cast<uint16_t>(each);
    if (each == 0 || std::isinf(ValueOfFp16(pattern))) continue;
    if (IsExactAt(format, weights, FloatOfFp16(pattern))) return pattern;
  }
  return usual;
}

int64_t BlocksPerRow(const PackedLayout& layout) {
  return (layout.columns + kScaleBlockWeights - 1) / kScaleBlockWeights;
}

// The number of the scale that a weight has, in their order.
int64_t ScaleIndex(const PackedLayout& layout, int64_t row, int64_t column) {
  return InfoOf(layout.format).scaling == Scaling::kRow
             ? row
             : row * BlocksPerRow(layout) + column / kScaleBlockWeights;
}

float ScaleOf(const PackedLayout& layout, std::span<const uint8_t> packed, int64_t row,
              int64_t column) {
  if (InfoOf(layout.format).scaling == Scaling::kTensor) {
    return std::ldexp(1.0f, 15 - layout.exponent_bias);
  }
  const int64_t offset = layout.scale_offset_bytes + 2 * ScaleIndex(layout, row, column);
  return FloatOfFp16(LoadU16(packed.subspan(offset)));
}

void StoreScales(const PackedLayout& layout, std::span<const uint16_t> fp16,
                 std::span<uint8_t> packed) {
  const FormatInfo& info = InfoOf(layout.format);
  if (info.scaling == Scaling::kTensor) return;
  const int64_t block = info.scaling == Scaling::kRow ? layout.columns : kScaleBlockWeights;
  for (int64_t row = 0; row < layout.rows; ++row) {
    for (int64_t column = 0; column < layout.columns; column += block) {
      const std::span<const uint16_t> weights =
          fp16.subspan(row * layout.columns + column, std::min(block, layout.columns - column));
      const uint16_t scale = info.family == FormatFamily::kFloat
                                 ? BestRowScale(layout.format, weights)
                                 : IntegerScale(layout.format, weights);
      const int64_t offset = layout.scale_offset_bytes + 2 * ScaleIndex(layout, row, column);
      StoreU16(packed.subspan(offset), scale);
    }
  }
}

}  // namespace

std::vector<uint32_t> EncodeScaled(const PackedLayout& layout, std::span<const uint16_t> fp16,
                                   std::span<uint8_t> packed) {
  StoreScales(layout, fp16, packed);
  std::vector<uint32_t> codes;
  for (int64_t row = 0; row < layout.rows; ++row) {
    for (int64_t column = 0; column < layout.columns; ++column) {
      codes.push_back(CodeOf(layout.format, fp16[row * layout.columns + column],
                             ScaleOf(layout, packed, row, column)));
    }
  }
  return codes;
}

std::vector<uint16_t> DecodeScaled(const PackedLayout& layout, std::span<const uint32_t> codes,
                                   std::span<const uint8_t> packed) {
  std::vector<uint16_t> fp16;
  for (int64_t row = 0; row < layout.rows; ++row) {
    for (int64_t column = 0; column < layout.columns; ++column) {
      const uint32_t code = codes[row * layout.columns + column];
      const float raw = FloatOfFp16(DecodeCode(layout.format, code));
      const float product = raw * ScaleOf(layout, packed, row, column);
      fp16.push_back(Fp16OfValue(product));
    }
  }
  return fp16;
}

}  // namespace tightfit::reference
