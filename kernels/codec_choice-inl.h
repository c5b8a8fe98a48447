// Which codec a format has. Included once per instruction set (hwy/foreach_target.h).
//
// A codec has:
//   kBits            bits of a code
//   kLowBits         those in the low plane: 4, 8, or 16, where codes are no planes
//   kHighBits        those in the high plane
//   kIsScaled        whether Value and Encode take factors; it then has kUnit (see ToEncode)
//   kIsExactInBf16   whether every value is a bf16
//   Decode           low-plane bytes and high-plane bits (8-bit lanes in the order of
//                    EightWeightsOfLane) to patterns: fp16, or what Value takes;
//                    Decode16 where kLowBits is 16
//   Value            patterns and factors to fp16
//   Encode           fp16 (and factors) to codes, in 16-bit lanes
// and a constructor from the 8-bit tag that loads its constants.

#if defined(TIGHTFIT_KERNELS_CODEC_CHOICE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_CODEC_CHOICE_INL_H_
#undef TIGHTFIT_KERNELS_CODEC_CHOICE_INL_H_
#else
#define TIGHTFIT_KERNELS_CODEC_CHOICE_INL_H_
#endif

#include "kernels/format.h"
#include "kernels/hf_codec-inl.h"
#include "kernels/row_scales-inl.h"
#include "kernels/scaled_codec-inl.h"

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

// The format chooses the codec and what its factors are, by type: no vector passes through the
// function.
template <class CodecType, template <class> class FactorsType>
struct Choice {
  using Codec = CodecType;
  template <class Direction>
  using Factors = FactorsType<Direction>;
};

template <class Direction>
using None = NoFactors;

template <class Function>
HWY_INLINE void WithChoice(WeightFormat format, Function function) {
  switch (format) {
    case WeightFormat::kHf8:
      return function(Choice<Hf<4, D8>, None>());
    case WeightFormat::kHf8x:
      return function(Choice<Hf8x<D8>, None>());
    case WeightFormat::kHf10:
      return function(Choice<Hf<6, D8>, None>());
    case WeightFormat::kHf12:
      return function(Choice<Hf<8, D8>, None>());
    case WeightFormat::kE2m3:
    case WeightFormat::kE2m3r:
      return function(Choice<RawFloat<2, 3>, RowFactor>());
    case WeightFormat::kE2m5:
    case WeightFormat::kE2m5r:
      return function(Choice<RawFloat<2, 5>, RowFactor>());
    case WeightFormat::kE3m4:
    case WeightFormat::kE3m4r:
      return function(Choice<RawFloat<3, 4>, RowFactor>());
    case WeightFormat::kE4m3:
    case WeightFormat::kE4m3r:
      return function(Choice<RawFloat<4, 3>, RowFactor>());
    case WeightFormat::kE3m6:
    case WeightFormat::kE3m6r:
      return function(Choice<RawFloat<3, 6>, RowFactor>());
    case WeightFormat::kE3m8:
    case WeightFormat::kE3m8r:
      return function(Choice<RawFloat<3, 8>, RowFactor>());
    case WeightFormat::kQ8:
      return function(Choice<RawInt8, RowFactor>());
    case WeightFormat::kQ8b32:
      return function(Choice<RawInt8, BlockFactors>());
    case WeightFormat::kBf16:
      return function(Choice<Bf16, None>());
    case WeightFormat::kFp8E4m3:
      return function(Choice<Fp8, None>());
    case WeightFormat::kNf5:
    case WeightFormat::kNf458:
    case WeightFormat::kNf4:
    case WeightFormat::kNf358:
    case WeightFormat::kNf281:
      return;  // normal_float_cpu.h
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_CODEC_CHOICE_INL_H_
