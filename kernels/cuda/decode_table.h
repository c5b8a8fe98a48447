// What one launch decodes: up to sixteen tensors of one format, passed by value as a kernel
// parameter.
#ifndef TIGHTFIT_KERNELS_CUDA_DECODE_TABLE_H_
#define TIGHTFIT_KERNELS_CUDA_DECODE_TABLE_H_

#include "kernels/cuda/device.h"
#include "kernels/packed_layout.h"

#include <bit>
#include <cstdint>
#include <span>

namespace tightfit::cuda {

inline constexpr int kMaxDecodeTensors = 16;
inline constexpr uint32_t kThreadsPerBlock = 256;
inline constexpr int kLevelTableSize = 32;
// Of a tensor: so that a group's row is a product and a shift away.
inline constexpr int64_t kMaxGroups = (int64_t{1} << 31) - 1;

enum class DecodedType : uint8_t { kFp16, kBf16, kFp32 };

constexpr int64_t BytesOf(DecodedType type) { return type == DecodedType::kFp32 ? 4 : 2; }

// n / divisor = (n * factor) >> (31 + shift) for n <= kMaxGroups.
struct Divisor {
  uint32_t factor = 0;
  uint32_t shift = 0;
};

constexpr Divisor DivisorOf(uint32_t divisor) {
  const auto shift = static_cast<uint32_t>(std::bit_width(divisor - 1));
  const uint64_t power = uint64_t{1} << (31 + shift);
  return {static_cast<uint32_t>((power + divisor - 1) / divisor), shift};
}

TIGHTFIT_HOST_DEVICE uint32_t Quotient(uint32_t n, Divisor divisor) {
  return static_cast<uint32_t>(static_cast<uint64_t>(n) * divisor.factor >> 31 >> divisor.shift);
}

// Bytes of a plane's group.
constexpr int GroupBytes(int plane_bits) { return 2 * plane_bits; }

struct DecodeTensor {
  const uint8_t* low;
  const uint8_t* high;
  const uint8_t* scales;
  const uint8_t* block_scales;
  uint8_t* out;
  uint64_t low_row_bytes;
  uint64_t high_row_bytes;
  uint32_t groups;          // of all code rows
  uint32_t groups_per_row;  // of one
  uint32_t columns;         // of a code row
  Divisor groups_per_row_divisor;
  uint32_t scale;  // fp16: the tensor's, where it has one
};

struct DecodeTable {
  // The first block of each tensor, ascending; UINT32_MAX of places without one.
  uint32_t first_block[kMaxDecodeTensors];
  DecodeTensor tensors[kMaxDecodeTensors];
  float levels[kLevelTableSize];  // of normal floats, repeated up to the end
  uint32_t blocks;
};

// Side lists, one for each tensor; a thread for each entry.
struct SideTensor {
  const uint8_t* positions;
  const uint8_t* values;
  uint8_t* out;
  uint32_t count;
  uint32_t weights;
};

struct SideTable {
  uint32_t first_block[kMaxDecodeTensors];
  SideTensor tensors[kMaxDecodeTensors];
  uint32_t blocks;  // 0: no tensor has a list
};

// Which tensor a block works at. The same for all threads: four steps, no divergence.
template <typename Table>
TIGHTFIT_HOST_DEVICE uint32_t TensorOfBlock(const Table& table, uint32_t block) {
  uint32_t index = 0;
  TIGHTFIT_UNROLL
  for (uint32_t step = kMaxDecodeTensors / 2; step != 0; step /= 2) {
    if (block >= table.first_block[index + step]) index += step;
  }
  return index;
}

// One tensor to decode, all of it.
struct DecodeJob {
  PackedLayout layout;
  const uint8_t* packed = nullptr;  // aligned to 16 bytes
  void* out = nullptr;              // row-major without padding, aligned to its element
};

struct DecodePlan {
  DecodeTable table;
  SideTable side;
  // Every group is whole, lies one after the other in all planes, and its place in `out` is aligned
  // to 16 bytes: the fast kernel.
  bool is_flat;
};

// False where the jobs are too many, of several formats, misaligned or too large.
bool PlanDecode(std::span<const DecodeJob> jobs, DecodedType type, DecodePlan* plan);

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_DECODE_TABLE_H_
