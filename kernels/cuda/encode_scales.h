// The passes that choose scales.
#ifndef TIGHTFIT_KERNELS_CUDA_ENCODE_SCALES_H_
#define TIGHTFIT_KERNELS_CUDA_ENCODE_SCALES_H_

#include "kernels/cuda/encode_codecs.h"
#include "kernels/cuda/encode_task.h"
#include "kernels/cuda/normal_float_decode.h"

#include <cstdint>

namespace tightfit::cuda {

// The largest of `count` magnitudes, as an fp16 pattern: patterns sort like their values.
TIGHTFIT_HOST_DEVICE uint32_t LargestMagnitude(const uint16_t* fp16, uint32_t count) {
  uint32_t largest = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t magnitude = fp16[i] & 0x7FFFu;
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

// The largest magnitude of each row, or of each superblock of normal floats.
template <WeightFormat kFormat>
struct MaximaPass {
  static uint64_t Count(const EncodeTask& task) { return task.groups; }
  TIGHTFIT_HOST_DEVICE static void Run(const EncodeTask& task, uint64_t index) {
    constexpr uint32_t kGroupsPerSuperblock = kNormalSuperblockWeights / kGroupWeights;
    const auto group = static_cast<uint32_t>(index);
    uint32_t row;
    uint32_t weights[kGroupWeights];
    LoadWeights(task, group, &row, weights);
    uint32_t largest = 0;
    TIGHTFIT_UNROLL
    for (uint32_t i = 0; i < kGroupWeights; ++i) {
      const uint32_t magnitude = weights[i] & 0x7FFF;
      largest = magnitude > largest ? magnitude : largest;
    }
    constexpr bool kIsRow = InfoOf(kFormat).scaling == Scaling::kRow;
    AtomicMaximum(task.maxima + (kIsRow ? row : group / kGroupsPerSuperblock), largest);
  }
};

// Candidate j of a row's scale, as an fp16 pattern.
TIGHTFIT_HOST_DEVICE uint32_t RowScaleCandidate(const EncodeTask& task, uint64_t row, int j) {
  return F16Of(Multiply(ValueOfF16(task.maxima[row]), task.row_factors[j]));
}

// 1 / S, and 0 where S is 0: products with it keep the sign then.
TIGHTFIT_HOST_DEVICE float Inverse(float scale) {
  return scale == 0.0f ? 0.0f : Divide(1.0f, scale);
}

template <int kHalf>
TIGHTFIT_HOST_DEVICE void AddUpperHalf(float* parts) {
  TIGHTFIT_UNROLL
  for (int i = 0; i < kHalf; ++i) parts[i] = Add(parts[i], parts[i + kHalf]);
}

// The error of each row at each candidate: a thread for each.
template <WeightFormat kFormat>
struct RowErrorPass {
  static uint64_t Count(const EncodeTask& task) {
    return static_cast<uint64_t>(task.rows) * kRowScaleCandidates;
  }
  TIGHTFIT_HOST_DEVICE static void Run(const EncodeTask& task, uint64_t index) {
    constexpr FormatInfo kInfo = InfoOf(kFormat);
    constexpr int kExponentBits = kInfo.exponent_bits;
    constexpr int kMantissaBits = kInfo.mantissa_bits;
    const uint64_t row = index / kRowScaleCandidates;
    const uint32_t candidate =
        RowScaleCandidate(task, row, static_cast<int>(index % kRowScaleCandidates));
    const float scale = ValueOfF16(candidate);
    const float inverse = Inverse(scale);
    const uint16_t* const weights = task.fp16 + row * task.columns;
    float parts[16] = {};
    for (uint32_t first = 0; first < task.columns; first += 16) {
      TIGHTFIT_UNROLL
      for (uint32_t i = 0; i < 16; ++i) {
        if (first + i >= task.columns) continue;
        const float y = Multiply(ValueOfF16(weights[first + i]), inverse);
        const float raw =
            RawOf<kExponentBits, kMantissaBits>(NearestFloatCode<kExponentBits, kMantissaBits>(y));
        const float error = Add(y, -raw);
        parts[i] = Add(parts[i], Multiply(error, error));
      }
    }
    AddUpperHalf<8>(parts);
    AddUpperHalf<4>(parts);
    AddUpperHalf<2>(parts);
    AddUpperHalf<1>(parts);
    task.errors[index] = Multiply(Multiply(scale, scale), parts[0]);
  }
};

// The candidate with the least error, of equals the first.
struct RowChoicePass {
  static uint64_t Count(const EncodeTask& task) { return task.rows; }
  TIGHTFIT_HOST_DEVICE static void Run(const EncodeTask& task, uint64_t row) {
    if (task.maxima[row] == 0) return;  // S = 0 is written
    uint32_t best = 0;
    float least = 0.0f;
    for (int j = 0; j < kRowScaleCandidates; ++j) {
      const uint32_t candidate = RowScaleCandidate(task, row, j);
      if (candidate >= 0x7C00) break;  // infinity, as are all larger ones
      const float error = task.errors[row * kRowScaleCandidates + j];
      if (j == 0 || error < least) {
        best = candidate;
        least = error;
      }
    }
    task.scales[row] = static_cast<uint16_t>(best);
  }
};

// Whether each weight is what its code and this scale make of it.
TIGHTFIT_HOST_DEVICE bool IsExactAt(uint32_t scale, const uint16_t* fp16, uint32_t count) {
  const float value = ValueOfF16(scale);
  const float factor = Multiply(Inverse(value), 128.0f);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t code = EncodeWeight<WeightFormat::kQ8>(fp16[i], factor);
    const float raw = Multiply(static_cast<float>(static_cast<int8_t>(code)), 0x1p-7f);
    const uint32_t decoded = F16Of(Multiply(raw, value));
    if (decoded != fp16[i] && ((decoded | fp16[i]) & 0x7FFFu) != 0) return false;  // -0 becomes +0
  }
  return true;
}

// The scale of integers whose largest magnitude is this pattern: the usual one, unless one of its
// neighbours alone makes every weight exact.
TIGHTFIT_HOST_DEVICE uint16_t IntegerScale(uint32_t largest, const uint16_t* fp16, uint32_t count) {
  constexpr float kFactor = 128.0f / 127.0f;
  const uint32_t usual = F16Of(Multiply(ValueOfF16(largest), kFactor));
  uint32_t scale = usual;
  if (usual != 0 && !IsExactAt(usual, fp16, count)) {
    if (usual > 1 && IsExactAt(usual - 1, fp16, count)) {
      scale = usual - 1;
    } else if (usual + 1 < 0x7C00 && IsExactAt(usual + 1, fp16, count)) {
      scale = usual + 1;
    }
  }
  return static_cast<uint16_t>(scale);
}

struct IntegerRowPass {
  static uint64_t Count(const EncodeTask& task) { return task.rows; }
  TIGHTFIT_HOST_DEVICE static void Run(const EncodeTask& task, uint64_t row) {
    task.scales[row] = IntegerScale(task.maxima[row], task.fp16 + row * task.columns, task.columns);
  }
};

TIGHTFIT_HOST_DEVICE uint32_t ScaleBlocksPerRow(const EncodeTask& task) {
  constexpr auto kBlock = static_cast<uint32_t>(kScaleBlockWeights);
  return task.columns / kBlock + (task.columns % kBlock != 0 ? 1 : 0);
}

struct IntegerBlockPass {
  static uint64_t Count(const EncodeTask& task) {
    return static_cast<uint64_t>(task.rows) * ScaleBlocksPerRow(task);
  }
  TIGHTFIT_HOST_DEVICE static void Run(const EncodeTask& task, uint64_t index) {
    constexpr auto kBlock = static_cast<uint32_t>(kScaleBlockWeights);
    const uint32_t blocks = ScaleBlocksPerRow(task);
    const uint64_t row = index / blocks;
    const uint32_t first = static_cast<uint32_t>(index % blocks) * kBlock;
    const uint32_t left = task.columns - first;
    const uint32_t count = left < kBlock ? left : kBlock;
    const uint16_t* const weights = task.fp16 + row * task.columns + first;
    task.scales[index] = IntegerScale(LargestMagnitude(weights, count), weights, count);
  }
};

// The scale code of a block of 64, and by the first block of a superblock its fp32.
struct NormalBlockPass {
  static uint64_t Count(const EncodeTask& task) {
    return (static_cast<uint64_t>(task.weights) + kNormalBlockWeights - 1) / kNormalBlockWeights;
  }
  TIGHTFIT_HOST_DEVICE static void Run(const EncodeTask& task, uint64_t block) {
    constexpr auto kBlock = static_cast<uint32_t>(kNormalBlockWeights);
    const uint64_t superblock = block / kNormalSuperblockBlocks;
    const float superblock_largest = ValueOfF16(task.maxima[superblock]);
    if (block % kNormalSuperblockBlocks == 0) {
      reinterpret_cast<float*>(task.scales)[superblock] = superblock_largest;
    }
    const uint64_t first = block * kBlock;
    const uint64_t left = task.weights - first;
    const uint32_t largest =
        LargestMagnitude(task.fp16 + first, left < kBlock ? static_cast<uint32_t>(left) : kBlock);
    if (largest == 0) return;  // 0 is written
    const float quotient = Divide(ValueOfF16(largest), DivideBy255(superblock_largest));
    const int32_t code = NearestInteger(quotient);
    task.block_scales[block] = static_cast<uint8_t>(code < 1 ? 1 : code > 255 ? 255 : code);
  }
};

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_ENCODE_SCALES_H_
