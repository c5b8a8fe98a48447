// Normal floats on the device: each lane of a warp keeps one level in a register, and a shuffle
// looks digits up.
#ifndef TIGHTFIT_KERNELS_CUDA_NORMAL_FLOAT_DECODE_H_
#define TIGHTFIT_KERNELS_CUDA_NORMAL_FLOAT_DECODE_H_

#include "kernels/cuda/device.h"
#include "kernels/cuda/unpack.h"
#include "kernels/format.h"
#include "kernels/packed_layout.h"

#include <cstdint>

namespace tightfit::cuda {

// What a thread loads: the codes of sixteen weights and what scales them.
struct Group {
  // Groups of the planes; of radix words the words that hold the sixteen weights, from the lowest
  // bit of each.
  uint32_t low[8];
  uint32_t high[2];
  uint32_t scale;        // fp16; of normal floats the superblock's fp32
  uint32_t block_scale;  // of normal floats
  uint32_t first_digit;  // of radix words: the place of the first weight in low[0]
};

// The level of a digit modulo 32. Every lane of the warp has to ask at the same time.
struct LevelLookup {
#if defined(__CUDA_ARCH__)
  float of_this_lane;
#else
  const float* levels;
#endif

  TIGHTFIT_HOST_DEVICE explicit LevelLookup(const float* table)
#if defined(__CUDA_ARCH__)
      : of_this_lane(table[threadIdx.x % 32]){}
#else
      : levels(table) {
  }
#endif

        TIGHTFIT_HOST_DEVICE float
        operator()(uint32_t digit) const {
#if defined(__CUDA_ARCH__)
    return __shfl_sync(0xFFFFFFFF, of_this_lane, static_cast<int>(digit));
#else
    return levels[digit % 32];
#endif
  }
};

// a / 255, correctly rounded for every a that is an fp16 magnitude: a product, and the remainder.
TIGHTFIT_HOST_DEVICE float DivideBy255(float a) {
  constexpr float kReciprocal = 1.0f / 255.0f;
  const float quotient = Multiply(a, kReciprocal);
  return MultiplyAdd(MultiplyAdd(-255.0f, quotient, a), kReciprocal, quotient);
}

// The scale of a block of 64.
TIGHTFIT_HOST_DEVICE float NormalScale(uint32_t superblock_bits, uint32_t block_scale) {
  return Multiply(DivideBy255(FloatOf(superblock_bits)), static_cast<float>(block_scale));
}

template <int kLevels>
struct NormalFloatDecoder {
  TIGHTFIT_HOST_DEVICE static void Decode(const Group& group, const LevelLookup& level,
                                          uint32_t* out) {
    const float scale = NormalScale(group.scale, group.block_scale);
    float values[16];
    if constexpr (kLevels == 16) {
      // Bits above the digit select among copies of the sixteen levels.
      TIGHTFIT_UNROLL
      for (int i = 0; i < 16; ++i) {
        values[i] = level(group.low[i / 4 % 2] >> (8 * (i % 4) + 4 * (i / 8)));
      }
    } else if constexpr (kLevels == 32) {
      DecodeFiveBits(group, level, values);
    } else {
      DecodeRadixWords(group, level, values);
    }
    TIGHTFIT_UNROLL
    for (int i = 0; i < 8; ++i) {
      out[i] = PackF16x2(Multiply(values[2 * i], scale), Multiply(values[2 * i + 1], scale));
    }
  }

 private:
  // Byte j of the high plane's two holds weight j + 2k in bit k: bytes 0 and 1 for weights 4k and
  // 4k + 1, and the same shifted by one for 4k + 2 and 4k + 3.
  TIGHTFIT_HOST_DEVICE static void DecodeFiveBits(const Group& group, const LevelLookup& level,
                                                  float* values) {
    const uint32_t high = Permute<0x5410>(group.high[0], group.high[0] >> 1);
    const uint32_t digits[4] = {
        Merge(group.low[0], high << 4, OnAllBytes(0x0F)),
        Merge(group.low[1], high << 2, OnAllBytes(0x0F)),
        Merge(group.low[0] >> 4, high, OnAllBytes(0x0F)),
        Merge(group.low[1] >> 4, high >> 2, OnAllBytes(0x0F)),
    };
    TIGHTFIT_UNROLL
    for (int i = 0; i < 16; ++i) values[i] = level(digits[i / 4] >> (8 * (i % 4)));
  }

  // Digits come out least significant first; weights of a group begin anywhere in a word.
  TIGHTFIT_HOST_DEVICE static void DecodeRadixWords(const Group& group, const LevelLookup& level,
                                                    float* values) {
    constexpr RadixWord kWord = RadixWordOf(FormatInfo{.level_count = kLevels});
    uint32_t words[4];
    TIGHTFIT_UNROLL
    for (int i = 0; i < 4; ++i) words[i] = group.low[i] & ((1u << kWord.bits) - 1);
    uint32_t word = words[0];
    TIGHTFIT_UNROLL
    for (int i = 0; i < kWord.digits - 1; ++i) {
      if (i < static_cast<int>(group.first_digit)) word /= kLevels;
    }
    uint32_t left = kWord.digits - group.first_digit;
    TIGHTFIT_UNROLL
    for (int i = 0; i < 16; ++i) {
      const uint32_t rest = word / kLevels;
      values[i] = level(word - rest * kLevels);
      word = rest;
      --left;
      if (left == 0) {
        word = words[1];
        words[1] = words[2];
        words[2] = words[3];
        left = kWord.digits;
      }
    }
  }
};

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_NORMAL_FLOAT_DECODE_H_
