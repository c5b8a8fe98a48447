// Vector codecs of the HF family. codec_choice-inl.h says what a codec has.
// Included once per instruction set (hwy/foreach_target.h).

#if defined(TIGHTFIT_KERNELS_HF_CODEC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_HF_CODEC_INL_H_
#undef TIGHTFIT_KERNELS_HF_CODEC_INL_H_
#else
#define TIGHTFIT_KERNELS_HF_CODEC_INL_H_
#endif

#include "kernels/fp16_vectors-inl.h"
#include "kernels/hf_tables.h"

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Adds half a unit of the last kept place, or just less where the kept part is even: rounding to
// nearest with ties to even, once the dropped bits are cut off. The sum may carry into the
// exponent, which is right: the next number up is the next binade's first.
template <int kDropped, class V16>
HWY_INLINE V16 AddHalf(V16 magnitude) {
  const hn::DFromV<V16> d;
  const V16 odd = hn::And(hn::ShiftRight<kDropped>(magnitude), hn::Set(d, 1));
  return hn::Add(hn::Add(magnitude, hn::Set(d, (1 << (kDropped - 1)) - 1)), odd);
}

// s EEE f with m = kMantissaBits bits of f.
template <int kMantissaBits, class D8>
class Hf {
 public:
  static constexpr int kBits = kMantissaBits + 4;
  static constexpr int kLowBits = 8;
  static constexpr int kHighBits = kBits - 8;
  static constexpr bool kIsScaled = false;
  static constexpr bool kIsExactInBf16 = kBits < 12;
  using V8 = hn::Vec<D8>;

  explicit HWY_INLINE Hf(D8 d)
      : by_index_(hn::LoadDup128(d, kTables.by_index.data())),
        gate_(hn::LoadDup128(d, kTables.gate.data())),
        by_selector_(hn::LoadDup128(d, kTables.by_selector.data())) {}

  HWY_INLINE PatternPair Decode(V8 low, V8 high) const {
    const D8 d;
    // The high plane begins inside the index for hf10, where it is `s E2`.
    V8 x = high;
    if constexpr (kHighBits == 0) x = hn::ShiftRight<4>(low);
    if constexpr (kHighBits == 2) x = hn::Or(hn::ShiftLeft<2>(high), hn::ShiftRight<6>(low));

    const V8 gate = hn::TableLookupBytes(gate_, x);
    const V8 selector =
        hn::Or(hn::And(low, hn::Set(d, HfTables<kMantissaBits>::kSelectorMask)), gate);
    const V8 upper_mantissa = hn::And(hn::ShiftRight<kMantissaBits - 2>(low), hn::Set(d, 3));
    const V8 kept = hn::Or(gate, hn::Set(d, HfTables<kMantissaBits>::kCoarseMask));
    return Interleave(hn::And(hn::ShiftLeft<10 - kMantissaBits>(low), kept),
                      hn::Add(hn::Add(hn::TableLookupBytes(by_index_, x), upper_mantissa),
                              hn::TableLookupBytesOr0(by_selector_, selector)));
  }

  template <class V16>
  static HWY_INLINE V16 Encode(V16 fp16) {
    const hn::DFromV<V16> d;
    constexpr int kFineDropped = 10 - kMantissaBits;
    constexpr int kCoarseDropped = 13 - kMantissaBits;
    const V16 magnitude = hn::And(fp16, hn::Set(d, 0x7FFF));
    // What is dropped is cleared where binades are coarse: 0x1000 may come out of the rounding, and
    // is then coded as the fine binade's first number.
    const V16 coarse = hn::And(AddHalf<kCoarseDropped>(magnitude),
                               hn::Set(d, static_cast<uint16_t>(0xFFFF << kCoarseDropped)));
    const V16 rounded = hn::IfThenElse(IsFine(magnitude), AddHalf<kFineDropped>(magnitude), coarse);

    const V16 cut = hn::ShiftRight<kFineDropped>(rounded);
    const V16 fine_code = hn::Sub(cut, hn::Set(d, 0x0C00 >> kFineDropped));
    // Exponent fields 0..3 and 11..14 become selectors 0..7: field + (field >= 8), modulo 8.
    const V16 selector = hn::Add(hn::ShiftRight<10>(rounded), hn::ShiftRight<13>(rounded));
    const V16 coarse_code = hn::Or(hn::And(cut, hn::Set(d, (1 << kMantissaBits) - 8)),
                                   hn::And(selector, hn::Set(d, 7)));
    const V16 code = hn::IfThenElse(IsFine(rounded), fine_code, coarse_code);
    const V16 sign = hn::And(hn::ShiftRight<16 - kBits>(fp16), hn::Set(d, 1 << (kBits - 1)));
    return hn::Or(code, sign);
  }

 private:
  static constexpr HfTables<kMantissaBits> kTables{};

  // Exponent fields 4..10, [2^-11, 2^-4): where all of f is mantissa. Magnitudes are below 2^15, so
  // signed comparison serves.
  template <class V16>
  static HWY_INLINE auto IsFine(V16 magnitude) {
    const hn::DFromV<V16> d;
    const hn::RebindToSigned<hn::DFromV<V16>> di;
    // Added up, exactly these turn into the most negative numbers.
    const auto shifted = hn::BitCast(di, hn::Add(magnitude, hn::Set(d, 0x8000 - 0x1000)));
    return hn::RebindMask(d, hn::Lt(shifted, hn::Set(di, 0x2C00 - 0x1000 - 0x8000)));
  }

  V8 by_index_;
  V8 gate_;
  V8 by_selector_;
};

// s EEEE fff: fp16 without the top bit of its exponent and the low seven of its mantissa.
template <class D8>
class Hf8x {
 public:
  static constexpr int kBits = 8;
  static constexpr int kLowBits = 8;
  static constexpr int kHighBits = 0;
  static constexpr bool kIsScaled = false;
  static constexpr bool kIsExactInBf16 = true;
  using V8 = hn::Vec<D8>;

  explicit HWY_INLINE Hf8x(D8 /*d*/) {}

  HWY_INLINE PatternPair Decode(V8 code, V8 /*high*/) const {
    return ShiftIntoPlace<1, 0xBF80>(Interleave(hn::Zero(D8()), code));
  }

  template <class V16>
  static HWY_INLINE V16 Encode(V16 fp16) {
    const hn::DFromV<V16> d;
    const V16 rounded = AddHalf<7>(hn::And(fp16, hn::Set(d, 0x7FFF)));
    const V16 sign = hn::And(hn::ShiftRight<8>(fp16), hn::Set(d, 0x80));
    return hn::Or(hn::ShiftRight<7>(rounded), sign);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_HF_CODEC_INL_H_
