// The few machine instructions that the CUDA bodies use, and what they do on a host, bit for bit:
// so every body runs, and is tested, without a GPU.
//
// fp16x2 stands for two fp16 patterns in one word, the first in the low half.
#ifndef TIGHTFIT_KERNELS_CUDA_DEVICE_H_
#define TIGHTFIT_KERNELS_CUDA_DEVICE_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define TIGHTFIT_HOST_DEVICE __host__ __device__ __forceinline__
#define TIGHTFIT_UNROLL _Pragma("unroll")
#define TIGHTFIT_NO_UNROLL _Pragma("unroll 1")
#else
#define TIGHTFIT_HOST_DEVICE inline
#define TIGHTFIT_UNROLL
#define TIGHTFIT_NO_UNROLL
#endif

namespace tightfit::cuda {

TIGHTFIT_HOST_DEVICE uint32_t BitsOf(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  return std::bit_cast<uint32_t>(value);
#endif
}

TIGHTFIT_HOST_DEVICE float FloatOf(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

// fp32, each operation rounded by itself.
TIGHTFIT_HOST_DEVICE float Multiply(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

TIGHTFIT_HOST_DEVICE float Add(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

TIGHTFIT_HOST_DEVICE float Divide(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

// a * b + c, rounded once.
TIGHTFIT_HOST_DEVICE float MultiplyAdd(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

// To the nearest integer, ties to even.
TIGHTFIT_HOST_DEVICE int32_t NearestInteger(float value) {
#if defined(__CUDA_ARCH__)
  return __float2int_rn(value);
#else
  return static_cast<int32_t>(std::nearbyint(value));
#endif
}

namespace host {

inline uint16_t F16Of(float value) {
  const uint32_t bits = BitsOf(value);
  const uint32_t sign = bits >> 16 & 0x8000;
  uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return 0x7FFF;
  if (magnitude >= 0x477FF000) return static_cast<uint16_t>(sign | 0x7C00);  // 65520
  if (magnitude < 0x38800000) {  // 2^-14: one step of fp16 is one of fp32 in [0.5, 1)
    return static_cast<uint16_t>(sign | (BitsOf(FloatOf(magnitude) + 0.5f) - BitsOf(0.5f)));
  }
  magnitude += 0xFFF + (magnitude >> 13 & 1);
  return static_cast<uint16_t>(sign | (magnitude - 0x38000000) >> 13);
}

inline float ValueOf(uint32_t fp16) {
  const uint32_t sign = (fp16 & 0x8000) << 16;
  const uint32_t magnitude = fp16 & 0x7FFF;
  if (magnitude >= 0x7C00) return FloatOf(sign | 0x7F800000 | (magnitude & 0x3FF) << 13);
  if (magnitude >= 0x0400) return FloatOf(sign | ((magnitude << 13) + 0x38000000));
  return FloatOf(sign | BitsOf(static_cast<float>(magnitude) * 0x1p-24f));
}

inline uint16_t Bf16Of(float value) {
  const uint32_t bits = BitsOf(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FFF;
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

template <typename Operation>
inline uint32_t OnHalves(uint32_t a, uint32_t b, Operation operation) {
  const uint32_t low = operation(a & 0xFFFF, b & 0xFFFF);
  const uint32_t high = operation(a >> 16, b >> 16);
  return low | high << 16;
}

}  // namespace host

// PRMT: four bytes out of a's (0..3) and b's (4..7), one for each nibble of the selector; a nibble
// with bit 3 set gives eight copies of the byte's sign in its place.
template <uint32_t kSelector>
TIGHTFIT_HOST_DEVICE uint32_t Permute(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
  uint32_t result;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "n"(kSelector));
  return result;
#else
  const uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t nibble = kSelector >> (4 * i) & 15;
    uint32_t byte = static_cast<uint32_t>(bytes >> (8 * (nibble & 7))) & 0xFF;
    if ((nibble & 8) != 0) byte = byte >> 7 != 0 ? 0xFF : 0;
    result |= byte << (8 * i);
  }
  return result;
#endif
}

// The low word of high:low >> (shift mod 32).
TIGHTFIT_HOST_DEVICE uint32_t FunnelShiftRight(uint32_t low, uint32_t high, uint32_t shift) {
#if defined(__CUDA_ARCH__)
  return __funnelshift_r(low, high, shift);
#else
  return static_cast<uint32_t>((static_cast<uint64_t>(high) << 32 | low) >> (shift % 32));
#endif
}

TIGHTFIT_HOST_DEVICE uint32_t MultiplyHigh(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
  return __umulhi(a, b);
#else
  return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32);
#endif
}

// The low half in both: a modifier of the instruction that reads it, not one of its own.
TIGHTFIT_HOST_DEVICE uint32_t Twice(uint32_t fp16) {
#if defined(__CUDA_ARCH__)
  uint32_t result;
  asm("{.reg .b16 low, high; mov.b32 {low, high}, %1; mov.b32 %0, {low, low};}"
      : "=r"(result)
      : "r"(fp16));
  return result;
#else
  return (fp16 & 0xFFFF) * 0x00010001;
#endif
}

// fp16x2 products and sums, rounded to nearest even, subnormals kept. On a host fp32 has more than
// twice the bits of fp16, and two more: rounding twice gives the same.
TIGHTFIT_HOST_DEVICE uint32_t MultiplyF16x2(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
  uint32_t result;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
#else
  return host::OnHalves(a, b, [](uint32_t x, uint32_t y) -> uint32_t {
    return host::F16Of(host::ValueOf(x) * host::ValueOf(y));
  });
#endif
}

TIGHTFIT_HOST_DEVICE uint32_t AddF16x2(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
  uint32_t result;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
#else
  return host::OnHalves(a, b, [](uint32_t x, uint32_t y) -> uint32_t {
    return host::F16Of(host::ValueOf(x) + host::ValueOf(y));
  });
#endif
}

// Of each half 0xFFFF where |a| < b, and where |a| = b; 0 elsewhere.
TIGHTFIT_HOST_DEVICE uint32_t MagnitudeBelowMask(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
  uint32_t result;
  asm("{.reg .b32 m; abs.f16x2 m, %1; set.lt.u32.f16x2 %0, m, %2;}"
      : "=r"(result)
      : "r"(a), "r"(b));
  return result;
#else
  return host::OnHalves(a, b, [](uint32_t x, uint32_t y) -> uint32_t {
    return std::fabs(host::ValueOf(x)) < host::ValueOf(y) ? 0xFFFF : 0;
  });
#endif
}

TIGHTFIT_HOST_DEVICE uint32_t MagnitudeEqualMask(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
  uint32_t result;
  asm("{.reg .b32 m; abs.f16x2 m, %1; set.eq.u32.f16x2 %0, m, %2;}"
      : "=r"(result)
      : "r"(a), "r"(b));
  return result;
#else
  return host::OnHalves(a, b, [](uint32_t x, uint32_t y) -> uint32_t {
    return std::fabs(host::ValueOf(x)) == host::ValueOf(y) ? 0xFFFF : 0;
  });
#endif
}

// Conversions, to nearest even; a NaN becomes 0x7FFF.
TIGHTFIT_HOST_DEVICE uint32_t PackF16x2(float low, float high) {
#if defined(__CUDA_ARCH__)
  uint32_t result;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
#else
  return host::F16Of(low) | static_cast<uint32_t>(host::F16Of(high)) << 16;
#endif
}

TIGHTFIT_HOST_DEVICE uint32_t PackBf16x2(float low, float high) {
#if defined(__CUDA_ARCH__)
  uint32_t result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
#else
  return host::Bf16Of(low) | static_cast<uint32_t>(host::Bf16Of(high)) << 16;
#endif
}

// The value of the low half.
TIGHTFIT_HOST_DEVICE float ValueOfF16(uint32_t fp16) {
#if defined(__CUDA_ARCH__)
  float result;
  asm("{.reg .b16 h; cvt.u16.u32 h, %1; cvt.f32.f16 %0, h;}" : "=f"(result) : "r"(fp16));
  return result;
#else
  return host::ValueOf(fp16 & 0xFFFF);
#endif
}

TIGHTFIT_HOST_DEVICE uint32_t F16Of(float value) { return PackF16x2(value, 0.0f) & 0xFFFF; }

// Loads whole, aligned words of a packed tensor. It is read once: it shall not push anything out of
// the L1 cache.
template <int kBytes>
TIGHTFIT_HOST_DEVICE void LoadPacked(const uint8_t* from, uint32_t* words) {
#if defined(__CUDA_ARCH__)
  if constexpr (kBytes == 2) {
    uint16_t half;
    asm volatile("ld.global.nc.L1::no_allocate.u16 %0, [%1];" : "=h"(half) : "l"(from));
    words[0] = half;
  } else if constexpr (kBytes == 4) {
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(words[0]) : "l"(from));
  } else if constexpr (kBytes == 8) {
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1])
                 : "l"(from));
  } else {
    static_assert(kBytes % 16 == 0);
    TIGHTFIT_UNROLL
    for (int i = 0; i < kBytes / 4; i += 4) {
      asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(words[i]), "=r"(words[i + 1]), "=r"(words[i + 2]), "=r"(words[i + 3])
                   : "l"(from + 4 * i));
    }
  }
#else
  words[0] = 0;
  std::memcpy(words, from, kBytes);
#endif
}

// `to` is aligned to 16 bytes.
TIGHTFIT_HOST_DEVICE void Store16(uint8_t* to, const uint32_t* words) {
#if defined(__CUDA_ARCH__)
  *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
#else
  std::memcpy(to, words, 16);
#endif
}

// On a host nothing runs at the same time.
TIGHTFIT_HOST_DEVICE void AtomicMaximum(uint32_t* place, uint32_t value) {
#if defined(__CUDA_ARCH__)
  atomicMax(place, value);
#else
  if (value > *place) *place = value;
#endif
}

TIGHTFIT_HOST_DEVICE void AtomicAdd(uint32_t* place, uint32_t value) {
#if defined(__CUDA_ARCH__)
  atomicAdd(place, value);
#else
  *place += value;
#endif
}

// Stores a whole, aligned group of a plane.
template <int kBytes>
TIGHTFIT_HOST_DEVICE void StorePacked(uint8_t* to, const uint32_t* words) {
#if defined(__CUDA_ARCH__)
  if constexpr (kBytes == 2) {
    *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(words[0]);
  } else if constexpr (kBytes == 4) {
    *reinterpret_cast<uint32_t*>(to) = words[0];
  } else if constexpr (kBytes == 8) {
    *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
  } else {
    TIGHTFIT_UNROLL
    for (int i = 0; i < kBytes / 4; i += 4) Store16(to + 4 * i, words + i);
  }
#else
  std::memcpy(to, words, kBytes);
#endif
}

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_DEVICE_H_
