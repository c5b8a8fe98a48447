// Sixteen weights of each format to fp16, in registers: no table, no branch. What each costs
// is counted and kept by tests/unit/kernels/check_sass.py.
//
// A codec is a type with `static void Decode(const Group& group, const LevelLookup& level,
// uint32_t* out)`; out: eight fp16x2.
#ifndef TIGHTFIT_KERNELS_CUDA_DECODE_CODECS_H_
#define TIGHTFIT_KERNELS_CUDA_DECODE_CODECS_H_

#include "kernels/cuda/device.h"
#include "kernels/cuda/normal_float_decode.h"
#include "kernels/cuda/unpack.h"
#include "kernels/format.h"

#include <cstdint>

namespace tightfit::cuda {

// Floats with a scale: raw * S.
template <int kExponentBits, int kMantissaBits>
struct FloatDecoder {
  TIGHTFIT_HOST_DEVICE static void Decode(const Group& group, const LevelLookup&, uint32_t* out) {
    UnpackPatterns<kExponentBits, kMantissaBits>(group.low, group.high, out);
    TIGHTFIT_UNROLL
    for (int i = 0; i < 8; ++i) out[i] = MultiplyF16x2(out[i], Twice(group.scale));
  }
};

struct Hf8xDecoder {
  TIGHTFIT_HOST_DEVICE static void Decode(const Group& group, const LevelLookup&, uint32_t* out) {
    UnpackPatterns<4, 3>(group.low, group.high, out);
  }
};

// hf8, hf10, hf12 of `s EEE f`. Unpacked, EEE stands where the exponent field EEE would: fine codes
// need 3 more. A coarse one has EEE = 0 and its selector t in the lowest bits of f: t has to go to
// the field, and 7 more where t >= 4. So with p the pattern, T its bits of t and U the topmost of
// them
//   fine    p + (3 << 10)
//   coarse  p - T + (T << m) + 7 * (U << (m - 2))
// Halves do not disturb each other: none of the sums leaves its sixteen bits.
template <int kMantissaBits>
struct HfDecoder {
  TIGHTFIT_HOST_DEVICE static void Decode(const Group& group, const LevelLookup&, uint32_t* out) {
    constexpr uint32_t kSelector = OnBothHalves(7u << (10 - kMantissaBits));
    constexpr uint32_t kUpperSelector = OnBothHalves(4u << (10 - kMantissaBits));
    UnpackPatterns<3, kMantissaBits>(group.low, group.high, out);
    TIGHTFIT_UNROLL
    for (int i = 0; i < 8; ++i) {
      const uint32_t pattern = out[i];
      const uint32_t coarse = MagnitudeBelowMask(pattern, OnBothHalves(0x0400));
      const uint32_t selector = pattern & coarse & kSelector;
      const uint32_t upper = pattern & coarse & kUpperSelector;
      const uint32_t fine_field = ~coarse & OnBothHalves(0x0C00);
      out[i] = selector * ((1u << kMantissaBits) - 1) + pattern;
      out[i] = upper * (7u << (kMantissaBits - 2)) + out[i];
      out[i] += fine_field;
    }
  }
};

// Two's complement bytes: 0x4800 | (q + 128) is 8 + (q + 128) / 128, and less 9 exactly q / 128.
struct IntegerDecoder {
  TIGHTFIT_HOST_DEVICE static void Decode(const Group& group, const LevelLookup&, uint32_t* out) {
    constexpr uint32_t kEight = OnAllBytes(0x48);
    constexpr uint32_t kMinusNine = OnBothHalves(0xC880);
    TIGHTFIT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint32_t bytes = group.low[i] ^ OnAllBytes(0x80);
      out[2 * i] = Permute<0x4140>(bytes, kEight);
      out[2 * i + 1] = Permute<0x4342>(bytes, kEight);
    }
    TIGHTFIT_UNROLL
    for (int i = 0; i < 8; ++i) {
      out[i] = MultiplyF16x2(AddF16x2(out[i], kMinusNine), Twice(group.scale));
    }
  }
};

// fp16 has another bias. The NaN codes have become 480 then, 0x5F80, and shall be 0x7E00.
struct Fp8Decoder {
  TIGHTFIT_HOST_DEVICE static void Decode(const Group& group, const LevelLookup&, uint32_t* out) {
    UnpackPatterns<4, 3>(group.low, group.high, out);
    TIGHTFIT_UNROLL
    for (int i = 0; i < 8; ++i) {
      out[i] = MultiplyF16x2(out[i], OnBothHalves(0x5C00));  // 2^8
      out[i] ^= MagnitudeEqualMask(out[i], OnBothHalves(0x5F80)) & OnBothHalves(0x5F80 ^ 0x7E00);
    }
  }
};

struct Bf16Decoder {
  TIGHTFIT_HOST_DEVICE static void Decode(const Group& group, const LevelLookup&, uint32_t* out) {
    TIGHTFIT_UNROLL
    for (int i = 0; i < 8; ++i) {
      out[i] = PackF16x2(FloatOf(group.low[i] << 16), FloatOf(group.low[i] & 0xFFFF0000));
    }
  }
};

template <WeightFormat kFormat>
constexpr auto DecoderOf() {
  constexpr FormatInfo info = InfoOf(kFormat);
  if constexpr (kFormat == WeightFormat::kHf8x) {
    return Hf8xDecoder{};
  } else if constexpr (info.family == FormatFamily::kHf) {
    return HfDecoder<info.mantissa_bits>{};
  } else if constexpr (info.family == FormatFamily::kFloat) {
    return FloatDecoder<info.exponent_bits, info.mantissa_bits>{};
  } else if constexpr (info.family == FormatFamily::kInteger) {
    return IntegerDecoder{};
  } else if constexpr (info.family == FormatFamily::kNormalFloat) {
    return NormalFloatDecoder<info.level_count>{};
  } else if constexpr (info.family == FormatFamily::kBf16) {
    return Bf16Decoder{};
  } else {
    return Fp8Decoder{};
  }
}

template <WeightFormat kFormat>
using Decoder = decltype(DecoderOf<kFormat>());

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_DECODE_CODECS_H_
