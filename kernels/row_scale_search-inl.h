// The search for a row's scale. Included once per instruction set (hwy/foreach_target.h).

#if defined(TIGHTFIT_KERNELS_ROW_SCALE_SEARCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_ROW_SCALE_SEARCH_INL_H_
#undef TIGHTFIT_KERNELS_ROW_SCALE_SEARCH_INL_H_
#else
#define TIGHTFIT_KERNELS_ROW_SCALE_SEARCH_INL_H_
#endif

#include "kernels/fp16.h"
#include "kernels/fp16_vectors-inl.h"
#include "kernels/row_scale_bounds-inl.h"
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

// Columns are added up in this many parts, whatever the vectors' length.
constexpr int64_t kErrorParts = 16;
constexpr int64_t kErrorVectors = kErrorParts / hn::MaxLanes(D32f());

// Adds the squared errors of `count` magnitudes, a multiple of kErrorParts, to one candidate's
// sums.
HWY_INLINE void AddSquaredErrors(const FormatInfo& info, const float* magnitudes, int64_t count,
                                 float inverse, float* sums) {
  const D32f df;
  constexpr int64_t kLanes = hn::MaxLanes(D32f());
  const V32f factor = hn::Set(df, inverse);
  const V32f most = hn::Set(df, static_cast<float>(LargestRaw(info)));
  const auto lost_bits = hn::Set(D32(), static_cast<uint32_t>(23 - info.mantissa_bits) << 23);
  // Independent sums: their additions overlap.
  V32f sum[kErrorVectors];
  for (int64_t part = 0; part < kErrorVectors; ++part) {
    sum[part] = hn::Load(df, sums + part * kLanes);
  }
  for (int64_t i = 0; i < count; i += kErrorParts) {
    for (int64_t part = 0; part < kErrorVectors; ++part) {
      const V32f y = hn::Mul(hn::Load(df, magnitudes + i + part * kLanes), factor);
      const V32f error = hn::Sub(y, RoundToGrid(hn::Min(y, most), lost_bits));
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

// The best of row.left, by the errors themselves.
HWY_NOINLINE uint16_t LeastErrorScale(const FormatInfo& info, const RowCandidates& row,
                                      const uint16_t* fp16, int64_t columns) {
  constexpr int64_t kPieceColumns = 2048;
  HWY_ALIGN float sums[kRowScaleCandidates][kErrorParts] = {};
  HWY_ALIGN float piece[kPieceColumns];
  for (int64_t begin = 0; begin < columns; begin += kPieceColumns) {
    const int64_t count = std::min(columns - begin, kPieceColumns);
    const int64_t padded = (count + kErrorParts - 1) / kErrorParts * kErrorParts;
    WidenMagnitudes(fp16 + begin, count, padded, piece);
    for (int k = 0; k < row.left_count; ++k) {
      AddSquaredErrors(info, piece, padded, row.inverses[row.left[k]], sums[k]);
    }
  }

  int best = 0;
  float best_error = 0.0f;
  for (int k = 0; k < row.left_count; ++k) {
    for (int64_t half = kErrorParts / 2; half > 0; half /= 2) {
      for (int64_t i = 0; i < half; ++i) sums[k][i] += sums[k][i + half];
    }
    const float error = row.squares[row.left[k]] * sums[k][0];
    if (k == 0 || error < best_error) {
      best = k;
      best_error = error;
    }
  }
  return row.scales[row.left[best]];
}

HWY_INLINE RowCandidates CandidatesOf(const RowScaleFactors& factors, uint16_t largest) {
  RowCandidates row;
  const V32f magnitude = hn::Set(D32f(), Fp32OfFp16(largest));
  const auto at = [&](int j) {
    return hn::Mul(magnitude, hn::Load(D32f(), factors.values.data() + j));
  };
  constexpr int kWideLanes = hn::MaxLanes(D32f());
  for (int j = 0; j < kRowScaleCandidates; j += 2 * kWideLanes) {
    const V16 scale = RoundToFp16(WideHalves{.lower = at(j), .upper = at(j + kWideLanes)});
    hn::Store(scale, D16(), row.scales + j);
    const WideHalves wide = Widen(scale);
    const auto store = [&](V32f value, int first) {
      hn::Store(hn::Div(hn::Set(D32f(), 1.0f), value), D32f(), row.inverses + first);
      hn::Store(hn::Mul(value, value), D32f(), row.squares + first);
    };
    store(wide.lower, j);
    store(wide.upper, j + kWideLanes);
  }
  // Ascending: what overflows comes last.
  while (row.left_count < kRowScaleCandidates && row.scales[row.left_count] < kFp16Infinity) {
    row.left[row.left_count] = row.left_count;
    ++row.left_count;
  }
  return row;
}

// GCC 12 miscompiles products of 16 bits on that target (see encode_cpu.cc).
constexpr bool kHasBounds = HWY_TARGET != HWY_EMU128;

template <int kMantissa>
HWY_NOINLINE void PruneCandidates(uint16_t largest, const uint16_t* fp16, int64_t columns,
                                  RowCandidates* row) {
  if constexpr (kHasBounds) {
    constexpr uint16_t kLeastNormal = 0x0400;  // below, scales are too coarse for the bounds
    if (columns < RowScaleBounds<kMantissa>::kLeastColumns || row->scales[0] < kLeastNormal ||
        row->left_count < kRowScaleCandidates) {
      return;
    }
    RowScaleBounds<kMantissa>(largest, row).Prune(fp16, columns);
  }
}

// The candidate of FORMATS.md section 2. `largest`: the row's largest magnitude, not 0.
HWY_NOINLINE uint16_t BestRowScale(const FormatInfo& info, const RowScaleFactors& factors,
                                   uint16_t largest, const uint16_t* fp16, int64_t columns) {
  RowCandidates row = CandidatesOf(factors, largest);
  if (row.left_count == 0) return row.scales[0];
  if (info.exponent_bits == 2 && info.mantissa_bits == 5) {
    PruneCandidates<5>(largest, fp16, columns, &row);
  } else if (info.exponent_bits == 2 && info.mantissa_bits == 3) {
    PruneCandidates<3>(largest, fp16, columns, &row);
  }
  if (row.left_count == 1) return row.scales[row.left[0]];
  return LeastErrorScale(info, row, fp16, columns);
}

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_ROW_SCALE_SEARCH_INL_H_
