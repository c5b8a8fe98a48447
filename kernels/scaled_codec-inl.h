// Vector codecs of the formats whose value is round16(raw * S), and of bf16 and fp8. Included once
// per instruction set (hwy/foreach_target.h).

#if defined(TIGHTFIT_KERNELS_SCALED_CODEC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_SCALED_CODEC_INL_H_
#undef TIGHTFIT_KERNELS_SCALED_CODEC_INL_H_
#else
#define TIGHTFIT_KERNELS_SCALED_CODEC_INL_H_
#endif

#include "kernels/fp16_vectors-inl.h"

#include <hwy/highway.h>

#include <bit>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr float PowerOfTwo(int exponent) {
  return std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
}

HWY_INLINE V16 ScaleToFp16(WideHalves raw, WideHalves scale) {
  return RoundToFp16(WideHalves{.lower = hn::Mul(raw.lower, scale.lower),
                                .upper = hn::Mul(raw.upper, scale.upper)});
}

// The nearest number of a grid; ties to even. Its step is fp32's at that number, so many bits up in
// the exponent field, or that at 2^-14 where the number is smaller. Requires 0 <= value < 2^16.
HWY_INLINE V32f RoundToGrid(V32f value, hn::Vec<D32> bits_up) {
  const D32 d;
  const D32f df;
  // At this number, fp32's last place is the grid's step: the sum is rounded to it.
  const auto binade = hn::Max(hn::And(value, hn::BitCast(df, hn::Set(d, 0x7F800000))),
                              hn::Set(df, PowerOfTwo(-14)));
  const auto shifter = hn::BitCast(df, hn::Add(hn::BitCast(d, binade), bits_up));
  return hn::Sub(hn::Add(value, shifter), shifter);
}

// With `kMantissaBits` below the leading bit.
template <int kMantissaBits>
HWY_INLINE V32f RoundToGrid(V32f value) {
  return RoundToGrid(value, hn::Set(D32(), uint32_t{23 - kMantissaBits} << 23));
}

// s E f: kExponentBits and kMantissaBits, read as an fp16 pattern.
template <int kExponentBits, int kMantissaBits>
class RawFloat {
 public:
  static constexpr int kBits = 1 + kExponentBits + kMantissaBits;
  static constexpr int kLowBits = kBits < 8 ? 4 : 8;
  static constexpr int kHighBits = kBits - kLowBits;
  static constexpr bool kIsScaled = true;
  static constexpr bool kIsExactInBf16 = false;  // with any scale
  static constexpr float kUnit = 1.0f;
  static constexpr int kMantissa = kMantissaBits;
  static constexpr float kLargestRaw =
      (2.0f - PowerOfTwo(-kMantissaBits)) * PowerOfTwo((1 << kExponentBits) - 16);

  explicit HWY_INLINE RawFloat(D8 /*d*/) {}

  HWY_INLINE PatternPair Decode(V8 low, V8 high) const {
    const D8 d;
    constexpr uint16_t kMask = 0x8000 | ((1 << (kBits - 1)) - 1) << (10 - kMantissaBits);
    constexpr int kShift = 5 - kExponentBits;  // of a code that begins at the top
    if constexpr (kHighBits == 0) {
      return ShiftIntoPlace<kShift, kMask>(Interleave(hn::Zero(d), low));
    } else if constexpr (kLowBits == 4) {
      // At most 8 bits, one byte.
      const V8 code = hn::Or(hn::ShiftLeft<8 - kBits>(low), hn::ShiftLeft<12 - kBits>(high));
      return ShiftIntoPlace<kShift, kMask>(Interleave(hn::Zero(d), code));
    } else {
      const PatternPair codes = Interleave(low, high);
      return ShiftIntoPlace<kShift, kMask>(
          PatternPair{.first = hn::ShiftLeft<16 - kBits>(codes.first),
                      .second = hn::ShiftLeft<16 - kBits>(codes.second)});
    }
  }

  static HWY_INLINE V16 Value(V16 pattern, WideHalves scale) {
    return ScaleToFp16(Widen(pattern), scale);
  }

  // `inverse`: 1 / S.
  static HWY_INLINE V16 Encode(V16 fp16, WideHalves inverse) {
    return EncodeUpTo(kLargestRaw, fp16, inverse);
  }

  // With another largest raw number.
  static HWY_INLINE V16 EncodeUpTo(float largest, V16 fp16, WideHalves inverse) {
    const D16 d;
    const WideHalves magnitude = Widen(hn::And(fp16, hn::Set(d, 0x7FFF)));
    const auto raw = [&](V32f value, V32f factor) {
      return RoundToGrid<kMantissaBits>(hn::Min(hn::Mul(value, factor), hn::Set(D32f(), largest)));
    };
    const V16 pattern = RoundToFp16(WideHalves{.lower = raw(magnitude.lower, inverse.lower),
                                               .upper = raw(magnitude.upper, inverse.upper)});
    const V16 sign = hn::And(hn::ShiftRight<16 - kBits>(fp16), hn::Set(d, 1 << (kBits - 1)));
    return hn::Or(hn::ShiftRight<10 - kMantissaBits>(pattern), sign);
  }
};

// OCP E4M3FN: bias 7 in place of 15, and NaN in place of the largest.
class Fp8 : public RawFloat<4, 3> {
 public:
  static constexpr bool kIsScaled = false;
  static constexpr bool kIsExactInBf16 = true;
  explicit HWY_INLINE Fp8(D8 d) : RawFloat(d) {}

  HWY_INLINE PatternPair Decode(V8 low, V8 high) const {
    const PatternPair raw = RawFloat::Decode(low, high);
    return {.first = WithBias7(raw.first), .second = WithBias7(raw.second)};
  }

  static HWY_INLINE V16 Encode(V16 fp16) {
    const V32f inverse = hn::Set(D32f(), PowerOfTwo(-8));
    return EncodeUpTo(1.75f, fp16, {.lower = inverse, .upper = inverse});
  }

 private:
  static HWY_INLINE V16 WithBias7(V16 raw) {
    const D16 d;
    const V32f factor = hn::Set(D32f(), PowerOfTwo(8));
    const V16 value = ScaleToFp16(Widen(raw), {.lower = factor, .upper = factor});
    const auto is_nan = hn::Eq(hn::And(raw, hn::Set(d, 0x7FFF)), hn::Set(d, 0x3F80));
    const V16 nan = hn::Or(hn::And(raw, hn::Set(d, 0x8000)), hn::Set(d, 0x7E00));
    return hn::IfThenElse(is_nan, nan, value);
  }
};

// The upper half of fp32, two bytes a weight.
class Bf16 {
 public:
  static constexpr int kBits = 16;
  static constexpr int kLowBits = 16;
  static constexpr int kHighBits = 0;
  static constexpr bool kIsScaled = false;
  static constexpr bool kIsExactInBf16 = true;

  explicit HWY_INLINE Bf16(D8 /*d*/) {}

  // 16-bit codes in order, in place of bytes from planes.
  static HWY_INLINE V16 Decode16(V16 bf16) {
    const hn::Half<D16> half;
    const auto wide = [](auto part) {
      return hn::BitCast(D32f(), hn::ShiftLeft<16>(hn::PromoteTo(D32(), part)));
    };
    return RoundToFp16(WideHalves{.lower = wide(hn::LowerHalf(half, bf16)),
                                  .upper = wide(hn::UpperHalf(half, bf16))});
  }

  static HWY_INLINE V16 Encode(V16 fp16) { return RoundToBf16(Widen(fp16)); }
};

// Two's complement in units of 1/128.
class RawInt8 {
 public:
  static constexpr int kBits = 8;
  static constexpr int kLowBits = 8;
  static constexpr int kHighBits = 0;
  static constexpr bool kIsScaled = true;
  static constexpr bool kIsExactInBf16 = false;
  static constexpr float kUnit = 128.0f;  // y = x * (kUnit / S)

  explicit HWY_INLINE RawInt8(D8 /*d*/) {}

  HWY_INLINE PatternPair Decode(V8 low, V8 /*high*/) const {
    return ShiftIntoPlace<8, 0xFFFF>(Interleave(hn::Zero(D8()), low));
  }

  static HWY_INLINE V16 Value(V16 integer, WideHalves scale) {
    const hn::RebindToSigned<D16> di16;
    const hn::Half<hn::RebindToSigned<D16>> half;
    const hn::RebindToSigned<D32> di32;
    const auto raw = [&](auto part) {
      return hn::Mul(hn::ConvertTo(D32f(), hn::PromoteTo(di32, part)),
                     hn::Set(D32f(), PowerOfTwo(-7)));
    };
    const auto signed_integer = hn::BitCast(di16, integer);
    return ScaleToFp16({.lower = raw(hn::LowerHalf(half, signed_integer)),
                        .upper = raw(hn::UpperHalf(half, signed_integer))},
                       scale);
  }

  static HWY_INLINE V16 Encode(V16 fp16, WideHalves inverse) {
    const hn::Half<hn::RebindToSigned<D16>> half;
    const auto integer = [&](V32f value, V32f factor) {
      const V32f most = hn::Set(D32f(), 127.0f);
      return hn::DemoteTo(half,
                          hn::NearestInt(hn::Clamp(hn::Mul(value, factor), hn::Neg(most), most)));
    };
    const WideHalves wide = Widen(fp16);
    const V16 both = hn::BitCast(
        D16(), hn::Combine(hn::RebindToSigned<D16>(), integer(wide.upper, inverse.upper),
                           integer(wide.lower, inverse.lower)));
    return hn::And(both, hn::Set(D16(), 0xFF));
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_SCALED_CODEC_INL_H_
