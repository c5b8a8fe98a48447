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
constexpr int64_t kErrorVectors = kErrorParts / hn::MaxLanes(D32f());

// Adds the squared errors of `count` magnitudes, a multiple of kErrorParts, to one candidate's
// sums.
template <class Codec>
HWY_INLINE void AddSquaredErrors(const float* magnitudes, int64_t count, float inverse,
                                 float* sums) {
  const D32f df;
  constexpr int64_t kLanes = hn::MaxLanes(D32f());
  const V32f factor = hn::Set(df, inverse);
  const V32f most = hn::Set(df, Codec::kLargestRaw);
  // Independent sums: their additions overlap.
  V32f sum[kErrorVectors];
  for (int64_t part = 0; part < kErrorVectors; ++part) {
    sum[part] = hn::Load(df, sums + part * kLanes);
  }
  for (int64_t i = 0; i < count; i += kErrorParts) {
    for (int64_t part = 0; part < kErrorVectors; ++part) {
      const V32f y = hn::Mul(hn::Load(df, magnitudes + i + part * kLanes), factor);
      const V32f error = hn::Sub(y, RoundToGrid<Codec::kMantissa>(hn::Min(y, most)));
      sum[part] = hn::Add(sum[part], hn::Mul(error, error));
    }
  }
  for (int64_t part = 0; part < kErrorVectors; ++part) {
    hn::Store(sum[part], df, sums + part * kLanes);
  }
}

// |fp16| as fp32, filled up with zeros to a multiple of kErrorParts.
HWY_INLINE void WidenMagnitudes(const uint16_t* fp16, int64_t count, int64_t padded, float* out) {
  const D16 d;
  constexpr int64_t kLanes = hn::MaxLanes(D16());
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const WideHalves wide = Widen(hn::And(hn::LoadU(d, fp16 + i), hn::Set(d, 0x7FFF)));
    hn::Store(wide.lower, D32f(), out + i);
    hn::Store(wide.upper, D32f(), out + i + kLanes / 2);
  }
  for (; i < count; ++i) out[i] = Fp32OfFp16(fp16[i] & 0x7FFF);
  std::fill(out + count, out + padded, 0.0f);
}

// The candidate of FORMATS.md section 2. `largest`: the row's largest magnitude, not 0.
template <class Codec>
HWY_NOINLINE uint16_t BestRowScale(const FormatInfo& info, uint16_t largest, const uint16_t* fp16,
                                   int64_t columns) {
  constexpr int64_t kPieceColumns = 2048;
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
    WidenMagnitudes(fp16 + begin, count, padded, piece);
    for (int j = 0; j < kRowScaleCandidates; ++j) {
      AddSquaredErrors<Codec>(piece, padded, inverses[j], sums[j]);
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
