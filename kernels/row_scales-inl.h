// The scales of rows and blocks as vectors see them. Included once per instruction set
// (hwy/foreach_target.h).

#if defined(TIGHTFIT_KERNELS_ROW_SCALES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_ROW_SCALES_INL_H_
#undef TIGHTFIT_KERNELS_ROW_SCALES_INL_H_
#else
#define TIGHTFIT_KERNELS_ROW_SCALES_INL_H_
#endif

#include "kernels/codec_cpu.h"
#include "kernels/fp16.h"
#include "kernels/fp16_vectors-inl.h"
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

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_ROW_SCALES_INL_H_
