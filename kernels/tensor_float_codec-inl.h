// The vector codec of 8-bit floats with one power of two for the tensor: decoding without a
// multiplication. Included once per instruction set (hwy/foreach_target.h).
//
// The power of two is 2^k. As bytes, the fp16 pattern of a code with magnitude y = E f is, where
// neither side is subnormal, high = (y >> (m - 2)) + 4k and low = y << (10 - m). For the first 32
// magnitudes, those with the subnormals, tables hold what has to be added to both.

#if defined(TIGHTFIT_KERNELS_TENSOR_FLOAT_CODEC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_TENSOR_FLOAT_CODEC_INL_H_
#undef TIGHTFIT_KERNELS_TENSOR_FLOAT_CODEC_INL_H_
#else
#define TIGHTFIT_KERNELS_TENSOR_FLOAT_CODEC_INL_H_
#endif

#include "kernels/fp16.h"
#include "kernels/fp16_vectors-inl.h"
#include "kernels/scaled_codec-inl.h"

#include <hwy/highway.h>

#include <bit>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <int kExponentBits, int kMantissaBits>
class TensorFloat8 {
 public:
  static constexpr int kBits = 8;
  static constexpr int kLowBits = 8;
  static constexpr int kHighBits = 0;
  static constexpr bool kIsScaled = false;
  static constexpr bool kIsExactInBf16 = true;

  // Whether all but the first 32 magnitudes are normal numbers of fp16, as they are at any bias
  // that a trained weight has.
  static bool Takes(uint16_t tensor_scale) {
    return (kTabled >> kMantissaBits) + ExponentOf(tensor_scale) >= 1;
  }

  HWY_INLINE TensorFloat8(D8 d, uint16_t tensor_scale) {
    static_assert(1 + kExponentBits + kMantissaBits == 8);
    HWY_ALIGN uint16_t fp16[kTabled];
    HWY_ALIGN uint8_t low[kTabled];
    HWY_ALIGN uint8_t high[kTabled];
    const int exponent = ExponentOf(tensor_scale);
    const V32f factor = hn::Set(D32f(), PowerOfTwo(exponent));
    const WideHalves factors{.lower = factor, .upper = factor};
    constexpr int64_t kLanes = hn::MaxLanes(D16());
    for (int64_t y = 0; y < kTabled; y += kLanes) {
      const V16 raw = hn::ShiftLeft<10 - kMantissaBits>(hn::Iota(D16(), static_cast<uint16_t>(y)));
      hn::Store(ScaleToFp16(Widen(raw), factors), D16(), fp16 + y);
    }
    for (int y = 0; y < kTabled; ++y) {
      low[y] = static_cast<uint8_t>(fp16[y] - (y << (10 - kMantissaBits)));
      high[y] = static_cast<uint8_t>((fp16[y] >> 8) - (y >> (kMantissaBits - 2)) - 4 * exponent);
    }
    low_first_ = hn::LoadDup128(d, low);
    low_second_ = hn::LoadDup128(d, low + 16);
    high_first_ = hn::LoadDup128(d, high);
    high_second_ = hn::LoadDup128(d, high + 16);
    exponent_ = hn::Set(d, static_cast<uint8_t>(4 * exponent));
  }

  HWY_INLINE PatternPair Decode(V8 code, V8 /*high*/) const {
    const D8 d;
    const V8 y = hn::And(code, hn::Set(d, 0x7F));
    const V8 first = IndexBelow16(y);
    const V8 second = IndexBelow16(hn::Xor(y, hn::Set(d, 16)));
    const V8 low = hn::Add(hn::ShiftLeft<10 - kMantissaBits>(code),
                           hn::Or(hn::TableLookupBytesOr0(low_first_, first),
                                  hn::TableLookupBytesOr0(low_second_, second)));
    const V8 high = hn::Add(hn::Add(hn::ShiftRight<kMantissaBits - 2>(y), exponent_),
                            hn::Or(hn::TableLookupBytesOr0(high_first_, first),
                                   hn::TableLookupBytesOr0(high_second_, second)));
    return Interleave(low, hn::OrAnd(high, code, hn::Set(d, 0x80)));
  }

 private:
  static constexpr int kTabled = 32;

  static int ExponentOf(uint16_t tensor_scale) {
    return static_cast<int>(std::bit_cast<uint32_t>(Fp32OfFp16(tensor_scale)) >> 23) - 127;
  }

  // y below 16, else a number with the top bit, at which a table gives 0. Requires y < 128.
  static HWY_INLINE V8 IndexBelow16(V8 y) {
    const D8 d;
    return hn::Xor(hn::SaturatedAdd(y, hn::Set(d, 0x70)), hn::Set(d, 0x70));
  }

  V8 low_first_;
  V8 low_second_;
  V8 high_first_;
  V8 high_second_;
  V8 exponent_;
};

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_TENSOR_FLOAT_CODEC_INL_H_
