// Bounds of the errors that the candidates of a row's scale have, by 16-bit integers. Included once
// per instruction set (hwy/foreach_target.h).
//
// The weights of a row are taken apart by octaves of their magnitude. Within an octave, y = x / S
// spans at most two binades of the format, for every candidate S of the octave that they span. So a
// 16-bit product tells how far y is from the nearest raw number, to a hundredth of the grid's step
// or so. As the distance to a set of points changes by no more than the place does, the norm of
// these distances differs from that of the errors by at most sqrt(count) times what a place may be
// off: a bound for whatever weights there are, and within a few percent.

#if defined(TIGHTFIT_KERNELS_ROW_SCALE_BOUNDS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_ROW_SCALE_BOUNDS_INL_H_
#undef TIGHTFIT_KERNELS_ROW_SCALE_BOUNDS_INL_H_
#else
#define TIGHTFIT_KERNELS_ROW_SCALE_BOUNDS_INL_H_
#endif

#include "kernels/fp16.h"
#include "kernels/fp16_vectors-inl.h"
#include "kernels/lane_selection.h"
#include "kernels/row_scale_candidates.h"
#include "kernels/scaled_codec-inl.h"

#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <utility>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A row's candidates S_j, and what is known of S_j^2 * (the sum of squared errors).
struct RowCandidates {
  HWY_ALIGN uint16_t scales[kRowScaleCandidates];
  HWY_ALIGN float inverses[kRowScaleCandidates];
  HWY_ALIGN float squares[kRowScaleCandidates];  // S_j^2
  HWY_ALIGN float lower[kRowScaleCandidates];    // bounds of the sum
  HWY_ALIGN float upper[kRowScaleCandidates];
  // Those that may be the best, ascending.
  int left[kRowScaleCandidates];
  int left_count = 0;
};

// Places count in this part of the step that the grid has in the upper of two binades.
constexpr int kPlaceBits = 10;

// How far a place, x * factor / 2^16, is from the nearest number of the grid; the sign says
// nothing. With kHalvesBelow, the grid's step is half of that in the lower binade, which ends at
// 2^(kMantissa + kPlaceBits); the distance then is that of 1/2 more than the place, less 1/2.
template <int kMantissa, bool kHalvesBelow>
HWY_INLINE hn::Vec<hn::RebindToSigned<D16>> Distances(V16 x, V16 factor) {
  const D16 d;
  const hn::RebindToSigned<D16> di;
  const V16 place = hn::MulHigh(x, factor);
  if constexpr (!kHalvesBelow) {
    constexpr int kAbove = 16 - kPlaceBits;
    return hn::ShiftRight<kAbove>(hn::BitCast(di, hn::ShiftLeft<kAbove>(place)));
  }
  // The bit that tells the upper binade becomes the mask's first; all below it are set anyway.
  const V16 within_step =
      hn::Or(hn::ShiftRight<kMantissa + 1>(place), hn::Set(d, (1 << (kPlaceBits - 1)) - 1));
  return hn::BitCast(di, hn::Min(hn::And(place, within_step), hn::AndNot(place, within_step)));
}

constexpr int kFactorsAtOnce = 4;

// The sums of squared distances with each factor. `count`: a multiple of Lanes(D16), at most
// RowScaleBounds::kPieceWeights. `factor_count`: a multiple of kFactorsAtOnce.
template <int kMantissa, bool kHalvesBelow>
HWY_NOINLINE void SumSquaredDistances(const uint16_t* HWY_RESTRICT x, int64_t count,
                                      const uint16_t* HWY_RESTRICT factors, int factor_count,
                                      float* HWY_RESTRICT sums) {
  const D16 d;
  const hn::RepartitionToWide<hn::RebindToSigned<D16>> d32;
  const hn::RepartitionToWide<decltype(d32)> d64;
  using V32i = hn::Vec<decltype(d32)>;
  // Each 128-bit block of the result holds sums of a and b by turns.
  const auto half_sums = [&](V32i a, V32i b) {
    return hn::BitCast(d64,
                       hn::Add(hn::InterleaveLower(d32, a, b), hn::InterleaveUpper(d32, a, b)));
  };
  for (int first = 0; first < factor_count; first += kFactorsAtOnce) {
    V16 factor[kFactorsAtOnce];
    V32i even[kFactorsAtOnce];
    V32i odd[kFactorsAtOnce];
    for (int k = 0; k < kFactorsAtOnce; ++k) {
      factor[k] = hn::Set(d, factors[first + k]);
      even[k] = odd[k] = hn::Zero(d32);
    }
    for (int64_t i = 0; i < count; i += static_cast<int64_t>(hn::Lanes(d))) {
      const V16 weights = hn::Load(d, x + i);
      for (int k = 0; k < kFactorsAtOnce; ++k) {
        const auto distance = Distances<kMantissa, kHalvesBelow>(weights, factor[k]);
        even[k] = hn::ReorderWidenMulAccumulate(d32, distance, distance, even[k], odd[k]);
      }
    }
    for (int k = 0; k < kFactorsAtOnce; ++k) even[k] = hn::Add(even[k], odd[k]);
    const auto low = half_sums(even[0], even[1]);
    const auto high = half_sums(even[2], even[3]);
    // Each block: the four sums. In fp32, as the sum of all blocks may pass 2^32.
    const V32f blocks =
        hn::ConvertTo(D32f(), hn::Add(hn::BitCast(d32, hn::InterleaveLower(d64, low, high)),
                                      hn::BitCast(d32, hn::InterleaveUpper(d64, low, high))));
    HWY_ALIGN float parts[hn::MaxLanes(D32f())];
    hn::Store(blocks, D32f(), parts);
    for (int k = 0; k < kFactorsAtOnce; ++k) {
      float sum = parts[k];
      for (size_t i = k + 4; i < hn::Lanes(d32); i += 4) sum += parts[i];
      sums[first + k] = sum;
    }
  }
}

// Writes the magnitudes above `above` and up to `most`, one after the other, and up to eight
// elements behind them. Patterns below 0x8000.
HWY_INLINE int64_t SelectMagnitudes(const uint16_t* fp16, int64_t count, uint16_t above,
                                    uint16_t most, uint16_t* out) {
  const D16 d;
  const hn::RebindToSigned<D16> di;
  const hn::CappedTag<uint16_t, 8> d8;
  const hn::Repartition<uint8_t, decltype(d8)> bytes;
  const auto lowest = hn::Set(di, static_cast<int16_t>(above));
  const auto highest = hn::Set(di, static_cast<int16_t>(most));
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t selected = 0;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto magnitude = hn::BitCast(di, hn::And(hn::LoadU(d, fp16 + i), hn::Set(d, 0x7FFF)));
    const auto inside = hn::AndNot(hn::Gt(magnitude, highest), hn::Gt(magnitude, lowest));
    uint8_t masks[8];
    hn::StoreMaskBits(di, inside, masks);
    for (int64_t part = 0; part < lanes / 8; ++part) {
      const auto eight = hn::And(hn::LoadU(d8, fp16 + i + 8 * part), hn::Set(d8, 0x7FFF));
      const auto from = hn::Load(bytes, kLaneSelection.bytes[masks[part]]);
      hn::StoreU(hn::TableLookupBytes(eight, hn::BitCast(d8, from)), d8, out + selected);
      selected += kLaneSelection.counts[masks[part]];
    }
  }
  for (; i < count; ++i) {
    const uint16_t magnitude = fp16[i] & 0x7FFF;
    out[selected] = magnitude;
    selected += magnitude > above && magnitude <= most;
  }
  return selected;
}

// fp16 magnitudes become nearest integers of magnitude * factor + center, below 2^16; zeros stay.
// `count`: a multiple of Lanes(D16).
HWY_INLINE void ScaleToIntegers(uint16_t* x, int64_t count, float factor, float center) {
  const D16 d;
  const hn::Half<D16> half;
  const V32f scale = hn::Set(D32f(), factor);
  const V32f shift = hn::Set(D32f(), center);
  const auto integers = [&](V32f value) {
    return hn::DemoteTo(half, hn::NearestInt(hn::Add(hn::Mul(value, scale), shift)));
  };
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(hn::Lanes(d))) {
    const WideHalves wide = Widen(hn::Load(d, x + i));
    hn::Store(hn::Combine(d, integers(wide.upper), integers(wide.lower)), d, x + i);
  }
}

// The bounds of one row's candidates, and the choice of those that may be the best. For floats of
// two exponent bits: their errors differ enough that few candidates are left. kMantissa: at most 5.
template <int kMantissa>
class RowScaleBounds {
 public:
  // Shorter rows are measured sooner than bounded.
  static constexpr int64_t kLeastColumns = 192;

  RowScaleBounds(uint16_t largest, RowCandidates* candidates) : row_(*candidates) {
    constexpr float kFirst = 1 << kMantissa;  // of the top binade, in steps
    steps_[0] = PowerOfTwo(-12 - kMantissa);  // raw numbers of the top binade begin at 2^-12
    ends_[0] = Fp32OfFp16(largest);
    // A little below candidate 0's first number of the top binade: all places fit.
    ends_[1] = kFirst * steps_[0] * Fp32OfFp16(row_.scales[0]) * (1.0f - 0x1p-9f);
    ends_[2] = ends_[1] / 2.0f;
    steps_[1] = steps_[0] / 2.0f;
    steps_[2] = steps_[1] / 2.0f;
    const D32f d;
    const hn::Rebind<uint16_t, D32f> narrow;
    for (int k = 0; k < 2; ++k) {
      // A place is x / S * (2^kPlaceBits / step), x an integer of ends / kLargestInteger.
      const V32f per_inverse =
          hn::Set(d, PowerOfTwo(16 + kPlaceBits) / steps_[k] * (ends_[k] / kLargestInteger));
      for (int j = 0; j < kRowScaleCandidates; j += static_cast<int>(hn::Lanes(d))) {
        const V32f factor = hn::Mul(per_inverse, hn::Load(d, row_.inverses + j));
        hn::Store(hn::DemoteTo(narrow, hn::NearestInt(factor)), narrow, factors_[k] + j);
      }
    }
  }

  // Takes out of candidates.left what cannot be the best. Requires all candidates there.
  void Prune(const uint16_t* fp16, int64_t columns) {
    std::fill_n(row_.lower, kRowScaleCandidates, 0.0f);
    std::fill_n(row_.upper, kRowScaleCandidates, 0.0f);
    // Twice what rounding may add to a sum of fp32, and more than the bounds' own.
    slack_ = static_cast<float>(columns / 16 + 64) * 0x1p-22f;
    HWY_ALIGN uint16_t integers[kPieceWeights + 2 * kClasses * hn::MaxLanes(D16())];
    for (int64_t begin = 0; begin < columns; begin += kPieceWeights) {
      const int64_t piece = std::min(columns - begin, kPieceWeights);
      TakeApart(fp16 + begin, piece, integers);
      Add<0>(0, counts_[0], row_.left, row_.left_count);
      if (begin + piece == columns) break;
      Add<1>(0, counts_[1], row_.left, row_.left_count);
      Add<2>(0, counts_[2], row_.left, row_.left_count);
    }
    // What promises most goes first: then it is known what others have to beat.
    const int first_count = std::min(row_.left_count, kFactorsAtOnce);
    BringPromisingForward(first_count);
    Add<1>(0, counts_[1], row_.left, first_count);
    Add<2>(0, counts_[2], row_.left, first_count);
    float most = std::numeric_limits<float>::infinity();
    for (int k = 0; k < first_count; ++k) {
      const int j = row_.left[k];
      most = std::min(most, row_.squares[j] * row_.upper[j] * (1.0f + slack_));
    }
    DropAbove(most, first_count);
    PruneBy<1>(most, first_count);
    PruneBy<2>(most, first_count);
    DropAbove(most, 0);
    std::sort(row_.left, row_.left + row_.left_count);
  }

 private:
  // Two octaves, and what is below them, where all steps are the same.
  static constexpr int kClasses = 3;
  static constexpr int64_t kPieceWeights = 24576;
  static constexpr float kLargestInteger = 65534.0f;

  // How far a distance may be off. A place is off by half at most for the integer that a weight
  // became, by half for the factor, and by half more or less for cutting off, where the integers
  // are 1/2 too large or the distances those of 1/2 more.
  static constexpr float kDistanceOff = 1.6f;

  static constexpr bool HalvesBelow(int which_class) { return which_class != kClasses - 1; }

  static int64_t Padded(int64_t count) {
    constexpr int64_t kLanes = hn::MaxLanes(D16());
    return (count + kLanes - 1) / kLanes * kLanes;
  }

  static uint16_t PatternUpTo(float value) {
    const uint16_t nearest = Fp16OfFp32(value);
    return Fp32OfFp16(nearest) > value ? nearest - 1 : nearest;
  }

  // Writes the weights as integers, class by class.
  void TakeApart(const uint16_t* fp16, int64_t count, uint16_t* integers) {
    const uint16_t borders[kClasses + 1] = {0x7FFF, PatternUpTo(ends_[1]), PatternUpTo(ends_[2]),
                                            0};
    for (int i = 0; i < kClasses; ++i) {
      const int64_t taken = SelectMagnitudes(fp16, count, borders[i + 1], borders[i], integers);
      std::fill_n(integers + taken, Padded(taken) - taken, uint16_t{0});
      ScaleToIntegers(integers, Padded(taken), kLargestInteger / ends_[i],
                      HalvesBelow(i) ? 0.0f : 0.5f);
      integers_[i] = integers;
      counts_[i] = taken;
      integers += Padded(taken);
    }
  }

  // Adds weights of a class to the bounds of the candidates in `which`. `begin`: a multiple of
  // Lanes(D16).
  template <int kClass>
  void Add(int64_t begin, int64_t count, const int* which, int which_count) {
    if (count == 0) return;
    uint16_t factors[kRowScaleCandidates];
    float sums[kRowScaleCandidates];
    const int padded_count = (which_count + kFactorsAtOnce - 1) / kFactorsAtOnce * kFactorsAtOnce;
    for (int k = 0; k < padded_count; ++k) {
      factors[k] = factors_[kClass != 0][which[std::min(k, which_count - 1)]];
    }
    SumSquaredDistances<kMantissa, HalvesBelow(kClass)>(integers_[kClass] + begin, Padded(count),
                                                        factors, padded_count, sums);
    HWY_ALIGN float sums_of[kRowScaleCandidates] = {};
    for (int k = 0; k < which_count; ++k) sums_of[which[k]] = sums[k];

    const float unit = steps_[kClass] / static_cast<float>(1 << kPlaceBits);
    const D32f d;
    const V32f root = hn::Sqrt(hn::Set(d, static_cast<float>(count)));
    const V32f off_below = hn::Mul(root, hn::Set(d, kDistanceOff));
    const V32f off_above =
        hn::Mul(root, hn::Set(d, kDistanceOff + (HalvesBelow(kClass) ? 0.5f : 0.0f)));
    const V32f weight = hn::Set(d, unit * unit);
    const auto add = [&](float* bound, V32f norm) {
      hn::Store(hn::Add(hn::Load(d, bound), hn::Mul(weight, hn::Mul(norm, norm))), d, bound);
    };
    for (int j = 0; j < kRowScaleCandidates; j += static_cast<int>(hn::Lanes(d))) {
      const V32f norm = hn::Sqrt(hn::Load(d, sums_of + j));
      add(row_.lower + j, hn::Max(hn::Sub(norm, off_below), hn::Zero(d)));
      add(row_.upper + j, hn::Add(norm, off_above));  // of others than `which`, of no use
    }
  }

  // The candidates that promise most come first in `left`: of the lower classes, errors spread
  // evenly over a step are expected. Larger scales have more of an octave in the lower binade.
  void BringPromisingForward(int wanted) {
    const float even = steps_[2] * steps_[2] / 12.0f;
    const auto octave = static_cast<float>(counts_[1]) * even;
    const float rest = static_cast<float>(counts_[2]) * even;
    // The error's pattern, with the candidate in the lowest bits.
    uint32_t keys[kRowScaleCandidates];
    for (int j = 0; j < kRowScaleCandidates; ++j) {
      const float expected = rest + octave * (4.0f - 3.0f / 32.0f * static_cast<float>(j));
      const float error = row_.squares[j] * (row_.lower[j] + expected);
      keys[j] = (std::bit_cast<uint32_t>(error) & ~uint32_t{31}) | static_cast<uint32_t>(j);
    }
    for (int k = 0; k < wanted; ++k) {
      uint32_t least = ~uint32_t{0};
      for (int j = 0; j < row_.left_count; ++j) least = std::min(least, keys[j]);
      const auto best = static_cast<int>(least & 31);
      keys[best] = ~uint32_t{0};
      std::swap(row_.left[k], *std::find(row_.left + k, row_.left + row_.left_count, best));
    }
  }

  // Takes out those behind the first whose error is above `most`.
  void DropAbove(float most, int first_count) {
    int kept = first_count;
    for (int k = first_count; k < row_.left_count; ++k) {
      const int j = row_.left[k];
      row_.left[kept] = j;
      kept += row_.squares[j] * row_.lower[j] * (1.0f - slack_) > most ? 0 : 1;
    }
    row_.left_count = kept;
  }

  // Adds a class to the bounds of those behind the first, until they are above `most`.
  template <int kClass>
  void PruneBy(float most, int first_count) {
    constexpr int64_t kPart = 512;
    for (int64_t begin = 0; begin < counts_[kClass] && row_.left_count > first_count;
         begin += kPart) {
      Add<kClass>(begin, std::min(kPart, counts_[kClass] - begin), row_.left + first_count,
                  row_.left_count - first_count);
      DropAbove(most, first_count);
    }
  }

  float slack_ = 0.0f;
  // Of each class: the largest magnitude, and raw's step in the upper half.
  float ends_[kClasses];
  float steps_[kClasses];
  const uint16_t* integers_[kClasses];
  int64_t counts_[kClasses];
  HWY_ALIGN uint16_t factors_[2][kRowScaleCandidates];  // of the first class, and of the others
  RowCandidates& row_;
};

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_ROW_SCALE_BOUNDS_INL_H_
