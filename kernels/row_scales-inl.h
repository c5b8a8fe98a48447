// The scales of rows and blocks as vectors see them, and the search for a row's. Included once per
// instruction set (hwy/foreach_target.h).

#if defined(TIGHTFIT_KERNELS_ROW_SCALES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_ROW_SCALES_INL_H_
#undef TIGHTFIT_KERNELS_ROW_SCALES_INL_H_
#else
#define TIGHTFIT_KERNELS_ROW_SCALES_INL_H_
#endif

#include "kernels/codec_cpu.h"
#include "kernels/fp16.h"
#include "kernels/fp16_vectors-inl.h"
#include "kernels/row_scale_candidates.h"
#include "kernels/scaled_codec-inl.h"

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// What a number of fp32 is multiplied by, made from an fp16 scale S: S itself to decode, unit / S
// to encode (0 where S is 0).
struct ToDecode {
  static float Factor(uint16_t scale, float /*unit*/) { return Fp32OfFp16(scale); }
};
struct ToEncode {
  static float Factor(uint16_t scale, float unit) {
    return (scale & 0x7FFF) == 0 ? 0.0f : unit / Fp32OfFp16(scale);
  }
};

// Of formats without scales.
struct NoFactors {
  HWY_INLINE NoFactors(const uint16_t* /*scales*/, int64_t /*scale_count*/, float /*unit*/) {}
};

// One factor for a whole row. At(column): those of the Lanes(D16) weights from `column` on.
template <class Direction>
class RowFactor {
 public:
  HWY_INLINE RowFactor(const uint16_t* scales, int64_t /*scale_count*/, float unit)
      : factor_(hn::Set(D32f(), Direction::Factor(*scales, unit))) {}
  HWY_INLINE WideHalves At(int64_t /*column*/) const {
    return {.lower = factor_, .upper = factor_};
  }

 private:
  V32f factor_;
};

// One for each kScaleBlockWeights of a row; behind the row's end, the last. Requires columns in
// multiples of 16, so that a vector's halves, of at most 16 lanes, never hold weights of two
// blocks.
template <class Direction>
class BlockFactors {
 public:
  HWY_INLINE BlockFactors(const uint16_t* scales, int64_t scale_count, float unit)
      : scales_(scales), last_(scale_count - 1), unit_(unit) {}
  HWY_INLINE WideHalves At(int64_t column) const {
    return {.lower = Of(column), .upper = Of(column + static_cast<int64_t>(hn::Lanes(D32f())))};
  }

 private:
  HWY_INLINE V32f Of(int64_t column) const {
    const int64_t block = std::min(column / kScaleBlockWeights, last_);
    return hn::Set(D32f(), Direction::Factor(scales_[block], unit_));
  }

  const uint16_t* scales_;
  int64_t last_;
  float unit_;
};

template <class Codec, class Factors, typename Byte>
HWY_INLINE Factors FactorsOfRow(const PackedRows<Byte>& rows, int64_t row) {
  float unit = 1.0f;
  if constexpr (Codec::kIsScaled) unit = Codec::kUnit;
  if (rows.scales == nullptr) return Factors(&rows.tensor_scale, 1, unit);
  return Factors(rows.scales + row * rows.scales_per_row, rows.scales_per_row, unit);
}

// Columns are added up in this many parts, whatever the vectors' length.
constexpr int64_t kErrorParts = 16;

// The candidate of FORMATS.md section 2. `largest`: the row's largest magnitude, not 0.
template <class Codec>
HWY_NOINLINE uint16_t BestRowScale(const FormatInfo& info, uint16_t largest, const uint16_t* fp16,
                                   int64_t columns) {
  constexpr int64_t kPieceColumns = 2048;
  const D32f df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  uint16_t scales[kRowScaleCandidates];
  float inverses[kRowScaleCandidates];
  HWY_ALIGN float sums[kRowScaleCandidates][kErrorParts] = {};
  for (int j = 0; j < kRowScaleCandidates; ++j) {
    scales[j] = Fp16OfFp32(Fp32OfFp16(largest) * RowScaleFactor(info, j));
    inverses[j] = 1.0f / Fp32OfFp16(scales[j]);
  }

  HWY_ALIGN float piece[kPieceColumns];
  for (int64_t begin = 0; begin < columns; begin += kPieceColumns) {
    const int64_t count = std::min(columns - begin, kPieceColumns);
    const int64_t padded = (count + kErrorParts - 1) / kErrorParts * kErrorParts;
    for (int64_t i = 0; i < count; ++i) {
      piece[i] = Fp32OfFp16(fp16[begin + i] & 0x7FFF);
    }
    std::fill(piece + count, piece + padded, 0.0f);  // without error
    for (int j = 0; j < kRowScaleCandidates; ++j) {
      const V32f inverse = hn::Set(df, inverses[j]);
      const V32f most = hn::Set(df, Codec::kLargestRaw);
      for (int64_t part = 0; part < kErrorParts; part += lanes) {
        V32f sum = hn::Load(df, sums[j] + part);
        for (int64_t i = part; i < padded; i += kErrorParts) {
          const V32f y = hn::Mul(hn::Load(df, piece + i), inverse);
          const V32f error = hn::Sub(y, RoundToGrid<Codec::kMantissa>(hn::Min(y, most)));
          sum = hn::Add(sum, hn::Mul(error, error));
        }
        hn::Store(sum, df, sums[j] + part);
      }
    }
  }

  int best = -1;
  float best_error = 0.0f;
  for (int j = 0; j < kRowScaleCandidates; ++j) {
    if (scales[j] >= kFp16Infinity) continue;
    for (int64_t half = kErrorParts / 2; half > 0; half /= 2) {
      for (int64_t i = 0; i < half; ++i) sums[j][i] += sums[j][i + half];
    }
    const float scale = Fp32OfFp16(scales[j]);
    const float error = scale * scale * sums[j][0];
    if (best < 0 || error < best_error) {
      best = j;
      best_error = error;
    }
  }
  return scales[std::max(best, 0)];
}

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_ROW_SCALES_INL_H_
