// The passes that write codes, given the scales.
#ifndef TIGHTFIT_KERNELS_CUDA_ENCODE_CODES_H_
#define TIGHTFIT_KERNELS_CUDA_ENCODE_CODES_H_

#include "kernels/cuda/encode_codecs.h"
#include "kernels/cuda/encode_scales.h"
#include "kernels/cuda/encode_task.h"
#include "kernels/cuda/normal_float_decode.h"

#include <cstdint>

namespace tightfit::cuda {

// 1 / s of the block that holds a weight of the flattened tensor.
TIGHTFIT_HOST_DEVICE float NormalFactor(const EncodeTask& task, uint64_t weight) {
  const float superblock =
      reinterpret_cast<const float*>(task.scales)[weight / kNormalSuperblockWeights];
  return Inverse(NormalScale(BitsOf(superblock), task.block_scales[weight / kNormalBlockWeights]));
}

// What EncodeWeight multiplies the weights of a group with.
template <WeightFormat kFormat>
TIGHTFIT_HOST_DEVICE float FactorOfGroup(const EncodeTask& task, uint32_t group, uint32_t row) {
  constexpr FormatInfo kInfo = InfoOf(kFormat);
  if constexpr (kInfo.scaling == Scaling::kNone) {
    return 0.0f;
  } else if constexpr (kInfo.scaling == Scaling::kBlock64) {
    return NormalFactor(task, static_cast<uint64_t>(group) * kGroupWeights);
  } else {
    uint32_t scale;
    if constexpr (kInfo.scaling == Scaling::kTensor) {
      scale = task.tensor_scale;
    } else if constexpr (kInfo.scaling == Scaling::kRow) {
      scale = task.scales[row];
    } else {
      const uint32_t group_of_row = group - row * task.groups_per_row;
      scale = task.scales[static_cast<uint64_t>(row) * ScaleBlocksPerRow(task) + group_of_row / 2];
    }
    // 128 / S of integers: a power of two changes no rounding.
    const float inverse = Inverse(ValueOfF16(scale));
    return kInfo.family == FormatFamily::kInteger ? Multiply(inverse, 128.0f) : inverse;
  }
}

// Puts bits of sixteen codes in their places in a plane's group.
template <int kBits>
TIGHTFIT_HOST_DEVICE void PackPlane(const uint32_t* codes, int first_bit, uint32_t* words) {
  constexpr int kBytes = GroupBytes(kBits);
  TIGHTFIT_UNROLL
  for (int i = 0; i < (kBytes + 3) / 4; ++i) words[i] = 0;
  TIGHTFIT_UNROLL
  for (int i = 0; i < 16; ++i) {
    const int byte = kBits == 16 ? 2 * i : i % kBytes;
    const int shift = kBits == 16 ? 0 : kBits * (i / kBytes);
    const uint32_t bits = codes[i] >> first_bit & ((1u << kBits) - 1);
    words[byte / 4] |= bits << (8 * (byte % 4) + shift);
  }
}

// Formats with planes: a group of sixteen weights.
template <WeightFormat kFormat>
struct PlanePass {
  static uint64_t Count(const EncodeTask& task) { return task.groups; }
  TIGHTFIT_HOST_DEVICE static void Run(const EncodeTask& task, uint64_t index) {
    constexpr FormatInfo kInfo = InfoOf(kFormat);
    const auto group = static_cast<uint32_t>(index);
    uint32_t row;
    uint32_t codes[kGroupWeights];
    const uint32_t count = LoadWeights(task, group, &row, codes);
    const float factor = FactorOfGroup<kFormat>(task, group, row);
    TIGHTFIT_UNROLL
    for (uint32_t i = 0; i < kGroupWeights; ++i) {
      codes[i] = i < count ? EncodeWeight<kFormat>(codes[i], factor) : 0;
    }
    const uint64_t group_of_row = group - row * task.groups_per_row;
    uint32_t words[8];
    constexpr int kLow = GroupBytes(kInfo.low_plane_bits);
    PackPlane<kInfo.low_plane_bits>(codes, 0, words);
    StorePacked<kLow>(task.low + row * task.low_row_bytes + group_of_row * kLow, words);
    if constexpr (kInfo.high_plane_bits != 0) {
      constexpr int kHigh = GroupBytes(kInfo.high_plane_bits);
      PackPlane<kInfo.high_plane_bits>(codes, kInfo.low_plane_bits, words);
      StorePacked<kHigh>(task.high + row * task.high_row_bytes + group_of_row * kHigh, words);
    }
  }
};

// Radix words: as many as end on a byte, so that threads share none.
template <WeightFormat kFormat>
struct RadixPass {
  static constexpr int kLevels = InfoOf(kFormat).level_count;
  static constexpr RadixWord kWord = RadixWordOf(InfoOf(kFormat));
  static constexpr int kWords = kWord.bits % 8 == 0   ? 1
                                : kWord.bits % 4 == 0 ? 2
                                : kWord.bits % 2 == 0 ? 4
                                                      : 8;
  static constexpr int kWeights = kWords * kWord.digits;

  static uint64_t Count(const EncodeTask& task) {
    return (static_cast<uint64_t>(task.weights) + kWeights - 1) / kWeights;
  }
  TIGHTFIT_HOST_DEVICE static void Run(const EncodeTask& task, uint64_t index) {
    uint64_t weight = index * kWeights;
    uint64_t byte = index * (kWords * kWord.bits / 8);
    uint64_t bits = 0;
    int bit_count = 0;
    TIGHTFIT_UNROLL
    for (int i = 0; i < kWords; ++i, weight += kWord.digits) {
      bits |= static_cast<uint64_t>(Word(task, weight)) << bit_count;
      bit_count += kWord.bits;
      TIGHTFIT_UNROLL
      for (; bit_count >= 8; bit_count -= 8, bits >>= 8, ++byte) {
        // Words that do not exist are zeros, and may lie behind the part.
        if (byte < task.low_row_bytes) task.low[byte] = static_cast<uint8_t>(bits);
      }
    }
  }

 private:
  TIGHTFIT_HOST_DEVICE static uint32_t Word(const EncodeTask& task, uint64_t first_weight) {
    uint32_t word = 0;
    TIGHTFIT_NO_UNROLL
    for (int i = kWord.digits - 1; i >= 0; --i) {
      const uint64_t weight = first_weight + i;
      if (weight >= task.weights) continue;
      word = word * kLevels + EncodeWeight<kFormat>(task.fp16[weight], NormalFactor(task, weight));
    }
    return word;
  }
};

// Outliers of each chunk.
struct SideCountPass {
  static uint64_t Count(const EncodeTask& task) {
    return (static_cast<uint64_t>(task.weights) + kSideChunkWeights - 1) / kSideChunkWeights;
  }
  TIGHTFIT_HOST_DEVICE static void Run(const EncodeTask& task, uint64_t chunk) {
    uint32_t count = 0;
    const uint64_t end = End(task, chunk);
    for (uint64_t i = chunk * kSideChunkWeights; i < end; ++i) {
      count += (task.fp16[i] & 0x7FFFu) > task.side_limit ? 1 : 0;
    }
    task.side_counts[chunk] = count;
  }
  TIGHTFIT_HOST_DEVICE static uint64_t End(const EncodeTask& task, uint64_t chunk) {
    const uint64_t end = (chunk + 1) * kSideChunkWeights;
    return end < task.weights ? end : task.weights;
  }
};

// Where each chunk's part of the list begins. One thread: a chunk for a thousand weights.
struct SideOffsetPass {
  static uint64_t Count(const EncodeTask&) { return 1; }
  TIGHTFIT_HOST_DEVICE static void Run(const EncodeTask& task, uint64_t) {
    const uint64_t chunks =
        (static_cast<uint64_t>(task.weights) + kSideChunkWeights - 1) / kSideChunkWeights;
    uint32_t offset = 0;
    for (uint64_t i = 0; i < chunks; ++i) {
      const uint32_t count = task.side_counts[i];
      task.side_counts[i] = offset;
      offset += count;
    }
  }
};

// The list; never longer than the layout says.
struct SideWritePass {
  static uint64_t Count(const EncodeTask& task) { return SideCountPass::Count(task); }
  TIGHTFIT_HOST_DEVICE static void Run(const EncodeTask& task, uint64_t chunk) {
    uint32_t place = task.side_counts[chunk];
    const uint64_t end = SideCountPass::End(task, chunk);
    for (uint64_t i = chunk * kSideChunkWeights; i < end; ++i) {
      if ((task.fp16[i] & 0x7FFFu) <= task.side_limit || place >= task.side_count) continue;
      reinterpret_cast<uint32_t*>(task.side_positions)[place] = static_cast<uint32_t>(i);
      task.side_values[place] = task.fp16[i];
      ++place;
    }
  }
};

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_ENCODE_CODES_H_
