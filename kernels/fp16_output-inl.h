// What becomes of a vector of decoded fp16 patterns: they are stored as they are, widened to fp32
// or rounded to bf16. Included once per instruction set (hwy/foreach_target.h).
//
// An output has the element type `Out` and Store<kBits>(fp16, out), which writes one element per
// lane; kBits are the format's, for what depends on the length of its mantissa.

#if defined(TIGHTFIT_KERNELS_FP16_OUTPUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_FP16_OUTPUT_INL_H_
#undef TIGHTFIT_KERNELS_FP16_OUTPUT_INL_H_
#else
#define TIGHTFIT_KERNELS_FP16_OUTPUT_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using D16 = hn::ScalableTag<uint16_t>;
using D32f = hn::ScalableTag<float>;

struct ToFp16 {
  using Out = uint16_t;
  template <int kBits>
  static HWY_INLINE void Store(hn::Vec<D16> fp16, uint16_t* out) {
    hn::StoreU(fp16, D16(), out);
  }
};

// fp32 lanes of the lower and the upper half: exact, subnormals included.
struct WideHalves {
  hn::Vec<D32f> lower;
  hn::Vec<D32f> upper;
};

HWY_INLINE WideHalves Widen(hn::Vec<D16> fp16) {
  const D32f d32;
  const hn::Half<D16> half;
  const hn::Rebind<hwy::float16_t, D32f> narrow;
  return {.lower = hn::PromoteTo(d32, hn::BitCast(narrow, hn::LowerHalf(half, fp16))),
          .upper = hn::PromoteTo(d32, hn::BitCast(narrow, hn::UpperHalf(half, fp16)))};
}

struct ToFp32 {
  using Out = float;
  template <int kBits>
  static HWY_INLINE void Store(hn::Vec<D16> fp16, float* out) {
    const WideHalves wide = Widen(fp16);
    hn::StoreU(wide.lower, D32f(), out);
    hn::StoreU(wide.upper, D32f(), out + hn::Lanes(D32f()));
  }
};

struct ToBf16 {
  using Out = uint16_t;
  template <int kBits>
  static HWY_INLINE void Store(hn::Vec<D16> fp16, uint16_t* out) {
    const D16 d;
    if constexpr (kBits == 12) {
      // Normal hf12 values have eight mantissa bits, one more than bf16, and it is bit 2 here: a
      // tie where it is set. Adding it to itself if bit 3 is odd rounds to even; without a tie the
      // sum only sets bit 2, which is then cut off. Subnormals have neither bit.
      fp16 = hn::Add(fp16, hn::And(hn::ShiftRight<1>(fp16), hn::Set(d, 4)));
    }
    const WideHalves wide = Widen(fp16);
    hn::StoreU(hn::ConcatOdd(d, hn::BitCast(d, wide.upper), hn::BitCast(d, wide.lower)), d, out);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_FP16_OUTPUT_INL_H_
