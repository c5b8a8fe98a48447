// The decode kernels as functions of (block, thread): a thread decodes one group of sixteen
// weights. Compiled for devices and, for tests, for hosts.
//
// Nothing that a packed tensor holds ends up in an address, but for positions of the side list, and
// these are checked: whatever the bytes are, nothing is read outside the packed tensor nor written
// outside `out`.
#ifndef TIGHTFIT_KERNELS_CUDA_DECODE_BODY_H_
#define TIGHTFIT_KERNELS_CUDA_DECODE_BODY_H_

#include "kernels/cuda/decode_codecs.h"
#include "kernels/cuda/decode_table.h"
#include "kernels/cuda/device.h"
#include "kernels/format.h"
#include "kernels/packed_layout.h"

#include <cstdint>

namespace tightfit::cuda {

// The words of a group of radix words: word w holds bits [w * bits, (w + 1) * bits) of the part.
template <int kLevels>
TIGHTFIT_HOST_DEVICE void LoadRadixWords(const DecodeTensor& tensor, uint32_t index, Group* group) {
  constexpr RadixWord kWord = RadixWordOf(FormatInfo{.level_count = kLevels});
  const uint32_t first_weight = index * static_cast<uint32_t>(kGroupWeights);
  const uint32_t first_word = first_weight / kWord.digits;
  group->first_digit = first_weight - first_word * kWord.digits;
  // Words behind the last one decode to places without a weight: any bits will do for them.
  const uint64_t last = tensor.low_row_bytes / 4 - 1;
  TIGHTFIT_UNROLL
  for (int i = 0; i < 4; ++i) {
    const uint64_t bit = static_cast<uint64_t>(first_word + i) * kWord.bits;
    const uint64_t place = bit / 32;
    const uint64_t lower = place < last ? place : last;
    const uint64_t upper = place < last ? place + 1 : last;
    uint32_t words[2];
    LoadPacked<4>(tensor.low + 4 * lower, &words[0]);
    LoadPacked<4>(tensor.low + 4 * upper, &words[1]);
    group->low[i] = FunnelShiftRight(words[0], words[1], static_cast<uint32_t>(bit % 32));
  }
}

template <WeightFormat kFormat, bool kIsFlat>
TIGHTFIT_HOST_DEVICE void LoadGroup(const DecodeTensor& tensor, uint32_t index, uint32_t row,
                                    uint32_t group_of_row, Group* group) {
  constexpr FormatInfo kInfo = InfoOf(kFormat);
  if constexpr (kInfo.low_plane_bits == 0) {
    LoadRadixWords<kInfo.level_count>(tensor, index, group);
  } else {
    constexpr int kLow = GroupBytes(kInfo.low_plane_bits);
    const uint64_t offset =
        kIsFlat ? static_cast<uint64_t>(index) * kLow
                : row * tensor.low_row_bytes + static_cast<uint64_t>(group_of_row) * kLow;
    LoadPacked<kLow>(tensor.low + offset, group->low);
  }
  if constexpr (kInfo.high_plane_bits != 0) {
    constexpr int kHigh = GroupBytes(kInfo.high_plane_bits);
    const uint64_t offset =
        kIsFlat ? static_cast<uint64_t>(index) * kHigh
                : row * tensor.high_row_bytes + static_cast<uint64_t>(group_of_row) * kHigh;
    LoadPacked<kHigh>(tensor.high + offset, group->high);
  }
  if constexpr (kInfo.scaling == Scaling::kTensor) {
    group->scale = tensor.scale;
  } else if constexpr (kInfo.scaling == Scaling::kBlock64) {
    constexpr uint32_t kGroupsPerBlock = kNormalBlockWeights / kGroupWeights;
    constexpr uint32_t kGroupsPerSuperblock = kNormalSuperblockWeights / kGroupWeights;
    LoadPacked<4>(tensor.scales + 4 * static_cast<uint64_t>(index / kGroupsPerSuperblock),
                  &group->scale);
    group->block_scale = tensor.block_scales[index / kGroupsPerBlock];
  } else if constexpr (kInfo.scaling != Scaling::kNone) {
    uint64_t scale = row;
    if constexpr (kInfo.scaling == Scaling::kBlock32) {
      scale = static_cast<uint64_t>(row) * ((tensor.groups_per_row + 1) / 2) + group_of_row / 2;
    }
    LoadPacked<2>(tensor.scales + 2 * scale, &group->scale);
  }
}

// The fp16x2 words of a group in another type; four or eight bytes for each.
template <DecodedType kType>
TIGHTFIT_HOST_DEVICE void ConvertGroup(const uint32_t* fp16, uint32_t* words) {
  TIGHTFIT_UNROLL
  for (int i = 0; i < 8; ++i) {
    if constexpr (kType == DecodedType::kFp16) {
      words[i] = fp16[i];
    } else if constexpr (kType == DecodedType::kBf16) {
      words[i] = PackBf16x2(ValueOfF16(fp16[i]), ValueOfF16(fp16[i] >> 16));
    } else {
      words[2 * i] = BitsOf(ValueOfF16(fp16[i]));
      words[2 * i + 1] = BitsOf(ValueOfF16(fp16[i] >> 16));
    }
  }
}

template <DecodedType kType>
TIGHTFIT_HOST_DEVICE void StoreWhole(uint8_t* out, const uint32_t* words) {
  TIGHTFIT_UNROLL
  for (int i = 0; i < 4 * BytesOf(kType); i += 4) Store16(out + 4 * i, words + i);
}

// The first `count` elements, one by one.
template <DecodedType kType>
TIGHTFIT_HOST_DEVICE void StoreElements(uint8_t* out, const uint32_t* words, uint32_t count) {
  TIGHTFIT_UNROLL
  for (uint32_t i = 0; i < kGroupWeights; ++i) {
    if (i >= count) continue;
    if constexpr (kType == DecodedType::kFp32) {
      reinterpret_cast<uint32_t*>(out)[i] = words[i];
    } else {
      reinterpret_cast<uint16_t*>(out)[i] = static_cast<uint16_t>(words[i / 2] >> (16 * (i % 2)));
    }
  }
}

// kIsFlat: what DecodePlan says of its tensors. Codec: Decoder<kFormat>; tests put one in its place
// that only moves bytes, to count what decoding adds.
template <WeightFormat kFormat, DecodedType kType, bool kIsFlat, typename Codec = Decoder<kFormat>>
TIGHTFIT_HOST_DEVICE void DecodeBody(const DecodeTable& table, uint32_t block, uint32_t thread) {
  constexpr FormatInfo kInfo = InfoOf(kFormat);
  constexpr bool kHasLevels = kInfo.level_count != 0;
  constexpr bool kNeedsRow =
      !kIsFlat || kInfo.scaling == Scaling::kRow || kInfo.scaling == Scaling::kBlock32;
  const uint32_t number = TensorOfBlock(table, block);
  const DecodeTensor& tensor = table.tensors[number];
  uint32_t index = (block - table.first_block[number]) * kThreadsPerBlock + thread;
  const bool is_inside = index < tensor.groups;
  if constexpr (kHasLevels) {
    // All lanes of a warp look levels up together; those behind the end decode the last group
    // again.
    index = is_inside ? index : tensor.groups - 1;
  } else {
    if (!is_inside) return;
  }
  uint32_t row = 0;
  uint32_t group_of_row = index;
  if constexpr (kNeedsRow && !kHasLevels) {
    row = Quotient(index, tensor.groups_per_row_divisor);
    group_of_row = index - row * tensor.groups_per_row;
  }

  Group group = {};
  LoadGroup<kFormat, kIsFlat>(tensor, index, row, group_of_row, &group);
  uint32_t fp16[8];
  Codec::Decode(group, LevelLookup(table.levels), fp16);
  if (kHasLevels && !is_inside) return;

  constexpr auto kElementBytes = static_cast<uint64_t>(BytesOf(kType));
  uint32_t words[4 * BytesOf(kType)];
  ConvertGroup<kType>(fp16, words);
  if constexpr (kIsFlat) {
    StoreWhole<kType>(tensor.out + index * kElementBytes * kGroupWeights, words);
  } else {
    const uint32_t first_column = group_of_row * static_cast<uint32_t>(kGroupWeights);
    uint8_t* const out =
        tensor.out + (static_cast<uint64_t>(row) * tensor.columns + first_column) * kElementBytes;
    const uint32_t count = tensor.columns - first_column;
    if (count >= kGroupWeights && reinterpret_cast<uintptr_t>(out) % 16 == 0) {
      StoreWhole<kType>(out, words);
    } else {
      StoreElements<kType>(out, words, count);
    }
  }
}

// Puts a side list's values in their places. Runs after the tensors are decoded.
template <DecodedType kType>
TIGHTFIT_HOST_DEVICE void SideBody(const SideTable& table, uint32_t block, uint32_t thread) {
  const uint32_t number = TensorOfBlock(table, block);
  const SideTensor& tensor = table.tensors[number];
  const uint32_t index = (block - table.first_block[number]) * kThreadsPerBlock + thread;
  if (index >= tensor.count) return;
  uint32_t position;
  uint32_t value;
  LoadPacked<4>(tensor.positions + 4 * static_cast<uint64_t>(index), &position);
  LoadPacked<2>(tensor.values + 2 * static_cast<uint64_t>(index), &value);
  if (position >= tensor.weights) return;
  if constexpr (kType == DecodedType::kFp32) {
    reinterpret_cast<float*>(tensor.out)[position] = ValueOfF16(value);
  } else {
    if constexpr (kType == DecodedType::kBf16) value = PackBf16x2(ValueOfF16(value), 0.0f);
    reinterpret_cast<uint16_t*>(tensor.out)[position] = static_cast<uint16_t>(value);
  }
}

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_DECODE_BODY_H_
