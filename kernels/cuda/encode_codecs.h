// The code of one weight, by FORMATS.md: integer arithmetic on patterns, or fp32 with each
// operation rounded by itself.
#ifndef TIGHTFIT_KERNELS_CUDA_ENCODE_CODECS_H_
#define TIGHTFIT_KERNELS_CUDA_ENCODE_CODECS_H_

#include "kernels/cuda/device.h"
#include "kernels/format.h"
#include "kernels/normal_float_levels.h"

#include <cstdint>
#include <span>

namespace tightfit::cuda {

// value / 2^bits to the nearest integer, ties to even.
TIGHTFIT_HOST_DEVICE uint32_t RoundOff(uint32_t value, int bits) {
  return (value + (1u << (bits - 1)) - 1 + (value >> bits & 1)) >> bits;
}

// The magnitude's bits of the float code nearest to y, a number in units of raw. A pattern rounded
// off carries into the next binade by itself; below 2^-14 codes are linear.
template <int kExponentBits, int kMantissaBits>
TIGHTFIT_HOST_DEVICE uint32_t NearestFloatMagnitude(float y) {
  constexpr uint32_t kSmallestNormal = 0x38800000;  // 2^-14
  constexpr uint32_t kLargest = (1u << (kExponentBits + kMantissaBits)) - 1;
  const uint32_t magnitude = BitsOf(y) & 0x7FFFFFFF;
  uint32_t code;
  if (magnitude < kSmallestNormal) {
    constexpr auto kSteps = static_cast<float>(1u << (14 + kMantissaBits));
    code = static_cast<uint32_t>(NearestInteger(Multiply(FloatOf(magnitude), kSteps)));
  } else {
    code = RoundOff(magnitude, 23 - kMantissaBits) - (112u << kMantissaBits);
  }
  return code < kLargest ? code : kLargest;
}

template <int kExponentBits, int kMantissaBits>
TIGHTFIT_HOST_DEVICE uint32_t NearestFloatCode(float y) {
  return NearestFloatMagnitude<kExponentBits, kMantissaBits>(y) |
         BitsOf(y) >> 31 << (kExponentBits + kMantissaBits);
}

// raw(code).
template <int kExponentBits, int kMantissaBits>
TIGHTFIT_HOST_DEVICE float RawOf(uint32_t code) {
  const uint32_t sign = code >> (kExponentBits + kMantissaBits) << 15;
  const uint32_t magnitude = code & ((1u << (kExponentBits + kMantissaBits)) - 1);
  return ValueOfF16(sign | magnitude << (10 - kMantissaBits));
}

// hf8, hf10, hf12. The exponent field tells how many bits are kept: before rounding, and after it,
// when a carry may have left the binade with a mantissa of 0.
template <int kMantissaBits>
TIGHTFIT_HOST_DEVICE uint32_t HfCode(uint32_t fp16) {
  const auto is_fine = [](uint32_t magnitude) {
    return magnitude >= 4u << 10 && magnitude < 11u << 10;
  };
  const uint32_t magnitude = fp16 & 0x7FFF;
  const int dropped = is_fine(magnitude) ? 10 - kMantissaBits : 13 - kMantissaBits;
  const uint32_t rounded = RoundOff(magnitude, dropped) << dropped;
  const uint32_t field = rounded >> 10;
  const uint32_t mantissa = rounded & 0x3FF;
  uint32_t code;
  if (is_fine(rounded)) {
    code = (field - 3) << kMantissaBits | mantissa >> (10 - kMantissaBits);
  } else {
    const uint32_t selector = field < 4 ? field : field - 7;
    code = mantissa >> (13 - kMantissaBits) << 3 | selector;
  }
  return code | (fp16 >> 15 & 1) << (kMantissaBits + 3);
}

template <int kLevels>
struct NormalThresholds {
  float of[kLevels - 1] = {};
  constexpr NormalThresholds() {
    const std::span<const float> levels = NormalLevels(kLevels);
    for (int i = 0; i < kLevels - 1; ++i) of[i] = (levels[i] + levels[i + 1]) / 2;
  }
};

// The number of thresholds below y.
template <int kLevels>
TIGHTFIT_HOST_DEVICE uint32_t NormalFloatDigit(float y) {
  constexpr NormalThresholds<kLevels> kThresholds;
  uint32_t digit = 0;
  TIGHTFIT_UNROLL
  for (int i = 0; i < kLevels - 1; ++i) digit += kThresholds.of[i] < y ? 1 : 0;
  return digit;
}

// The code of a weight. `factor` is 1 / S, of integers 128 / S, of normal floats 1 / s, and 0 where
// the scale is 0; formats without a scale do not look at it.
template <WeightFormat kFormat>
TIGHTFIT_HOST_DEVICE uint32_t EncodeWeight(uint32_t fp16, float factor) {
  constexpr FormatInfo kInfo = InfoOf(kFormat);
  if constexpr (kFormat == WeightFormat::kHf8x) {
    return RoundOff(fp16 & 0x7FFF, 7) | (fp16 >> 15 & 1) << 7;
  } else if constexpr (kInfo.family == FormatFamily::kHf) {
    return HfCode<kInfo.mantissa_bits>(fp16);
  } else if constexpr (kInfo.family == FormatFamily::kBf16) {
    return PackBf16x2(ValueOfF16(fp16), 0.0f) & 0xFFFF;
  } else if constexpr (kInfo.family == FormatFamily::kFp8) {
    // The code above the largest is NaN.
    const uint32_t magnitude =
        NearestFloatMagnitude<4, 3>(Multiply(ValueOfF16(fp16 & 0x7FFF), 0x1p-8f));
    return (magnitude < 0x7E ? magnitude : 0x7E) | (fp16 >> 15 & 1) << 7;
  } else {
    const float y = Multiply(ValueOfF16(fp16), factor);
    if constexpr (kInfo.family == FormatFamily::kFloat) {
      return NearestFloatCode<kInfo.exponent_bits, kInfo.mantissa_bits>(y);
    } else if constexpr (kInfo.family == FormatFamily::kInteger) {
      const int32_t nearest = NearestInteger(y);
      return static_cast<uint32_t>(nearest > 127 ? 127 : nearest < -127 ? -127 : nearest) & 0xFF;
    } else {
      return NormalFloatDigit<kInfo.level_count>(y);
    }
  }
}

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_ENCODE_CODECS_H_
