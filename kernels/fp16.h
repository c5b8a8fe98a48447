// Single fp16 and fp32 numbers, bit by bit: where a scale or a rest is handled, not whole tensors.
#ifndef TIGHTFIT_KERNELS_FP16_H_
#define TIGHTFIT_KERNELS_FP16_H_

#include <bit>
#include <cstdint>

namespace tightfit {

// The patterns of finite magnitudes are 0 .. 0x7BFF.
inline constexpr uint16_t kFp16Infinity = 0x7C00;

constexpr float Fp32OfFp16(uint16_t fp16) {
  const uint32_t sign = static_cast<uint32_t>(fp16 & 0x8000) << 16;
  const uint32_t magnitude = fp16 & 0x7FFF;
  if (magnitude >= kFp16Infinity) {
    return std::bit_cast<float>(sign | 0x7F800000 | (magnitude & 0x3FF) << 13);
  }
  if (magnitude < 0x400) {  // subnormal: a whole number of 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
  }
  return std::bit_cast<float>(sign | ((magnitude << 13) + (112u << 23)));
}

// Nearest, ties to even; infinity from 65520 on.
constexpr uint16_t Fp16OfFp32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return static_cast<uint16_t>(sign | 0x7E00);
  if (magnitude >= 0x477FF000) return static_cast<uint16_t>(sign | kFp16Infinity);
  if (magnitude < 0x38800000) {
    // Below 2^-14. A sum with 0.5 is rounded to a multiple of 2^-24, fp16's last place there.
    const float sum = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(sum) - 0x3F000000));
  }
  const uint32_t odd = magnitude >> 13 & 1;
  return static_cast<uint16_t>(sign | ((magnitude + 0xFFF + odd - (112u << 23)) >> 13));
}

// Nearest, ties to even.
constexpr uint16_t Bf16OfFp16(uint16_t fp16) {
  const uint32_t bits = std::bit_cast<uint32_t>(Fp32OfFp16(fp16));
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_FP16_H_
