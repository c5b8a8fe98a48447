// Vectors of fp16 patterns: how they come out of code bytes, their widening and rounding, and what
// is stored of them. Included once per instruction set (hwy/foreach_target.h).

#if defined(TIGHTFIT_KERNELS_FP16_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_FP16_VECTORS_INL_H_
#undef TIGHTFIT_KERNELS_FP16_VECTORS_INL_H_
#else
#define TIGHTFIT_KERNELS_FP16_VECTORS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using D8 = hn::ScalableTag<uint8_t>;
using D16 = hn::ScalableTag<uint16_t>;
using D32 = hn::ScalableTag<uint32_t>;
using D32f = hn::ScalableTag<float>;
using V8 = hn::Vec<D8>;
using V16 = hn::Vec<D16>;
using V32f = hn::Vec<D32f>;

// Patterns of Lanes(D8) weights in order: the first half of them, then the second.
struct PatternPair {
  V16 first;
  V16 second;
};

// Bytes in the order of EightWeightsOfLane become 16-bit patterns in order.
HWY_INLINE PatternPair Interleave(V8 low, V8 high) {
  const D8 d;
  return {.first = hn::BitCast(D16(), hn::InterleaveLower(d, low, high)),
          .second = hn::BitCast(D16(), hn::InterleaveUpper(d, low, high))};
}

// With a code's sign in the top bit, shifting right draws copies of it after it; the mask keeps
// one, at the top, and the code's other bits in their new place.
template <int kShift, uint16_t kMask>
HWY_INLINE V16 ShiftIntoPlace(V16 pattern) {
  const hn::RebindToSigned<D16> di;
  return hn::And(hn::BitCast(D16(), hn::ShiftRight<kShift>(hn::BitCast(di, pattern))),
                 hn::Set(D16(), kMask));
}

template <int kShift, uint16_t kMask>
HWY_INLINE PatternPair ShiftIntoPlace(PatternPair patterns) {
  return {.first = ShiftIntoPlace<kShift, kMask>(patterns.first),
          .second = ShiftIntoPlace<kShift, kMask>(patterns.second)};
}

// fp32 lanes of the lower and the upper half of a 16-bit vector.
struct WideHalves {
  V32f lower;
  V32f upper;
};

// Exact, subnormals included.
HWY_INLINE WideHalves Widen(V16 fp16) {
  const D32f d32;
  const hn::Half<D16> half;
  const hn::Rebind<hwy::float16_t, D32f> narrow;
  return {.lower = hn::PromoteTo(d32, hn::BitCast(narrow, hn::LowerHalf(half, fp16))),
          .upper = hn::PromoteTo(d32, hn::BitCast(narrow, hn::UpperHalf(half, fp16)))};
}

// Nearest, ties to even.
HWY_INLINE hn::Vec<hn::Half<D16>> RoundToFp16(V32f value) {
  const hn::Half<D16> half;
#if HWY_ARCH_X86 && HWY_TARGET < HWY_SSE4 && !defined(HWY_DISABLE_F16C)
  const hn::Rebind<hwy::float16_t, D32f> narrow;
  return hn::BitCast(half, hn::DemoteTo(narrow, value));
#else
  // What Highway does without F16C cuts off. As Fp16OfFp32 of fp16.h.
  const D32 d;
  const hn::RebindToSigned<D32> di;
  const auto bits = hn::BitCast(d, value);
  const auto magnitude = hn::And(bits, hn::Set(d, 0x7FFFFFFF));
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(d, 1));
  const auto normal = hn::ShiftRight<13>(
      hn::Sub(hn::Add(hn::Add(magnitude, hn::Set(d, 0xFFF)), odd), hn::Set(d, 112u << 23)));
  const auto sum = hn::Add(hn::BitCast(D32f(), magnitude), hn::Set(D32f(), 0.5f));
  const auto subnormal = hn::Sub(hn::BitCast(d, sum), hn::Set(d, 0x3F000000));
  const auto below = [&](auto a, uint32_t b) {
    return hn::RebindMask(d, hn::Lt(hn::BitCast(di, a), hn::Set(di, static_cast<int32_t>(b))));
  };
  auto rounded = hn::IfThenElse(below(magnitude, 0x38800000), subnormal, normal);
  rounded = hn::IfThenElse(below(magnitude, 0x477FF000), rounded, hn::Set(d, 0x7C00));
  rounded = hn::IfThenElse(below(magnitude, 0x7F800001), rounded, hn::Set(d, 0x7E00));
  const auto sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 0x8000));
  return hn::DemoteTo(half, hn::BitCast(di, hn::Or(rounded, sign)));
#endif
}

HWY_INLINE V16 RoundToFp16(WideHalves wide) {
  return hn::Combine(D16(), RoundToFp16(wide.upper), RoundToFp16(wide.lower));
}

// The upper halves of fp32 patterns.
HWY_INLINE V16 UpperBits(WideHalves wide) {
  const D16 d;
  return hn::ConcatOdd(d, hn::BitCast(d, wide.upper), hn::BitCast(d, wide.lower));
}

// Nearest, ties to even. Requires numbers that do not overflow.
HWY_INLINE V16 RoundToBf16(WideHalves wide) {
  const D32 d;
  const auto add_half = [&](V32f value) {
    const auto bits = hn::BitCast(d, value);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1));
    return hn::BitCast(D32f(), hn::Add(hn::Add(bits, hn::Set(d, 0x7FFF)), odd));
  };
  return UpperBits({.lower = add_half(wide.lower), .upper = add_half(wide.upper)});
}

// An output has the element type `Out` and Store<kIsExactInBf16>(fp16, out), which writes one
// element a lane.
struct ToFp16 {
  using Out = uint16_t;
  template <bool kIsExactInBf16>
  static HWY_INLINE void Store(V16 fp16, uint16_t* out) {
    hn::StoreU(fp16, D16(), out);
  }
};

struct ToFp32 {
  using Out = float;
  template <bool kIsExactInBf16>
  static HWY_INLINE void Store(V16 fp16, float* out) {
    const WideHalves wide = Widen(fp16);
    hn::StoreU(wide.lower, D32f(), out);
    hn::StoreU(wide.upper, D32f(), out + hn::Lanes(D32f()));
  }
};

struct ToBf16 {
  using Out = uint16_t;
  template <bool kIsExactInBf16>
  static HWY_INLINE void Store(V16 fp16, uint16_t* out) {
    const WideHalves wide = Widen(fp16);
    hn::StoreU(kIsExactInBf16 ? UpperBits(wide) : RoundToBf16(wide), D16(), out);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_FP16_VECTORS_INL_H_
