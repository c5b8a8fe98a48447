// Codes of sixteen weights to fp16 patterns. sign at bit 15, E at the lower end of the exponent
// field, f at the upper end of the mantissa: raw(code) of FORMATS.md section 2, and of hf8, hf10
// and hf12 the code's fields in these places.
//
// out[i] holds weights 2i and 2i + 1, whatever order the planes have: no shuffle is left to do.
#ifndef TIGHTFIT_KERNELS_CUDA_UNPACK_H_
#define TIGHTFIT_KERNELS_CUDA_UNPACK_H_

#include "kernels/cuda/device.h"

#include <cstdint>

namespace tightfit::cuda {

// a's bits under the mask, b's elsewhere. Said outright, since the compiler spends two instructions
// where it knows some of the bits.
TIGHTFIT_HOST_DEVICE uint32_t Merge(uint32_t a, uint32_t b, uint32_t mask) {
#if defined(__CUDA_ARCH__)
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xE4;" : "=r"(result) : "r"(a), "r"(b), "r"(mask));
  return result;
#else
  return (a & mask) | (b & ~mask);
#endif
}

constexpr uint32_t OnBothHalves(uint32_t mask) { return mask * 0x00010001; }
constexpr uint32_t OnAllBytes(uint32_t mask) { return mask * 0x01010101; }

// Left for positive, right for negative distances.
template <int kDistance>
TIGHTFIT_HOST_DEVICE uint32_t Shift(uint32_t word) {
  if constexpr (kDistance < 0) {
    return word >> -kDistance;
  } else {
    return word << kDistance;
  }
}

// A byte `s E f` with unused bits between s and E is, sign-extended to 16 bits and shifted, the
// pattern itself but for bits to mask: sign extension puts s wherever bit 15 needs it.
template <int kMantissaBits, int kFieldBits>
TIGHTFIT_HOST_DEVICE void PatternsOfBytes(uint32_t bytes, uint32_t* out) {
  constexpr int kShift = 10 - kMantissaBits;
  constexpr uint32_t kMask = OnBothHalves(0x8000 | ((1u << kFieldBits) - 1) << kShift);
  out[0] = Permute<0x9180>(bytes, 0) << kShift & kMask;
  out[1] = Permute<0xB3A2>(bytes, 0) << kShift & kMask;
}

// A low byte and a byte of the bits above it, each in the place that the shift wants; the latter
// with bits that are not its own.
template <int kMantissaBits, int kExponentBits>
TIGHTFIT_HOST_DEVICE void PatternsOfTwoBytes(uint32_t low, uint32_t high, uint32_t* out) {
  constexpr int kShift = 10 - kMantissaBits;
  constexpr uint32_t kMask =
      OnBothHalves(0x8000 | ((1u << (kExponentBits + kMantissaBits)) - 1) << kShift);
  out[0] = Permute<0x5140>(low, high) << kShift & kMask;
  out[1] = Permute<0x7362>(low, high) << kShift & kMask;
}

// 8 | 2 bits, s E2 | E1 E0 f: bits 2k and 2k + 1 of a high byte belong to weights 4k .. 4k + 3. E2
// goes to bit 0, s to bit 3, which a shift by four leaves in bits 12 and 15.
template <int kGroup>
TIGHTFIT_HOST_DEVICE void PatternsOfTenBits(const uint32_t* low, uint32_t high, uint32_t* out) {
  const uint32_t sign = Shift<2 - 2 * kGroup>(high);
  const uint32_t exponent = Shift<-2 * kGroup>(high);
  PatternsOfTwoBytes<6, 3>(low[kGroup], Merge(sign, exponent, OnAllBytes(0x08)), out + 2 * kGroup);
}

// 8 | 4 bits, s E2 E1 E0 | f: E goes to bits 0..2, s to bit 5.
template <int kGroup>
TIGHTFIT_HOST_DEVICE void PatternsOfTwelveBits(const uint32_t* low, const uint32_t* high,
                                               uint32_t* out) {
  const uint32_t word = high[kGroup % 2];
  constexpr int kNibble = 4 * (kGroup / 2);
  const uint32_t sign = Shift<2 - kNibble>(word);
  const uint32_t exponent = Shift<-kNibble>(word);
  PatternsOfTwoBytes<8, 3>(low[kGroup], Merge(sign, exponent, OnAllBytes(0x20)), out + 2 * kGroup);
}

// 4 | 2 bits, s E1 | E0 f: a byte is put together from the nibble, E1 above it and s at its top.
template <int kGroup>
TIGHTFIT_HOST_DEVICE void PatternsOfSixBits(const uint32_t* low, uint32_t high, uint32_t* out) {
  const uint32_t nibble = Shift<-4 * (kGroup / 2)>(low[kGroup % 2]);
  const uint32_t exponent = Shift<4 - 2 * kGroup>(high);
  const uint32_t sign = Shift<6 - 2 * kGroup>(high);
  const uint32_t above = Merge(exponent, sign, OnAllBytes(0x10));
  PatternsOfBytes<3, 5>(Merge(nibble, above, OnAllBytes(0x0F)), out + 2 * kGroup);
}

template <int kExponentBits, int kMantissaBits>
TIGHTFIT_HOST_DEVICE void UnpackPatterns(const uint32_t* low, const uint32_t* high, uint32_t* out) {
  constexpr int kBits = 1 + kExponentBits + kMantissaBits;
  if constexpr (kBits == 8) {
    TIGHTFIT_UNROLL
    for (int i = 0; i < 4; ++i) PatternsOfBytes<kMantissaBits, 7>(low[i], out + 2 * i);
  } else if constexpr (kBits == 10) {
    PatternsOfTenBits<0>(low, high[0], out);
    PatternsOfTenBits<1>(low, high[0], out);
    PatternsOfTenBits<2>(low, high[0], out);
    PatternsOfTenBits<3>(low, high[0], out);
  } else if constexpr (kBits == 12) {
    PatternsOfTwelveBits<0>(low, high, out);
    PatternsOfTwelveBits<1>(low, high, out);
    PatternsOfTwelveBits<2>(low, high, out);
    PatternsOfTwelveBits<3>(low, high, out);
  } else {
    static_assert(kBits == 6);
    PatternsOfSixBits<0>(low, high[0], out);
    PatternsOfSixBits<1>(low, high[0], out);
    PatternsOfSixBits<2>(low, high[0], out);
    PatternsOfSixBits<3>(low, high[0], out);
  }
}

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_UNPACK_H_
