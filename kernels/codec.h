// Encode and decode tensors of weights: what the server calls. The CPU's kernels; those of CUDA are
// in codec_cuda.h. No LibTorch, no exceptions; thread-safe.
//
//   const EncodingPlan plan = PlanEncoding(format, rows, columns, fp16, in_threads);
//   if (!plan.representability.ok()) ...      // the tensor stays as it is
//   buffer of plan.layout.total_bytes         // 16-byte aligned
//   EncodeTensor(plan.layout, fp16, packed, in_threads);
//   DecodeToBf16(plan.layout, packed, {first_row, row_count, 0, columns}, out);
//
// fp16 stands for IEEE binary16 patterns in uint16_t, bf16 likewise.
#ifndef TIGHTFIT_KERNELS_CODEC_H_
#define TIGHTFIT_KERNELS_CODEC_H_

#include "kernels/format.h"
#include "kernels/packed_layout.h"

#include <cstdint>
#include <functional>
#include <span>

namespace tightfit {

// Runs `work(begin, end)` over pieces of [0, count), each of at least `grain` but the last; in any
// order, in as many threads as it likes; returns when all is done. An empty one means: here, at
// once.
using ParallelFor = std::function<void(int64_t count, int64_t grain,
                                       const std::function<void(int64_t, int64_t)>& work)>;

// One for programs without a thread pool of their own: `thread_count` threads that live as long as
// the call.
ParallelFor InThreads(int thread_count);

// Why a tensor cannot be encoded. Counts are over the whole input.
struct Representability {
  int64_t nan_count = 0;
  int64_t infinity_count = 0;
  int64_t out_of_range_count = 0;  // finite, larger than the format takes
  bool ok() const { return nan_count + infinity_count + out_of_range_count == 0; }
};

struct EncodingPlan {
  Representability representability;
  PackedLayout layout;  // of an unscaled tensor where it is not representable
};

// Looks at the whole tensor: whether the format takes it, and what its layout depends on. Of
// tensor-scaled floats that is the exponent bias: the one with the least squared error among those
// that leave at most 0.1 % of the weights to the side list; where errors are equal, the shorter
// list, then the larger bias.
EncodingPlan PlanEncoding(WeightFormat format, int64_t rows, int64_t columns, const uint16_t* fp16,
                          const ParallelFor& parallel_for = {});

// Writes every byte of `packed` (layout.total_bytes, 16-byte aligned). `fp16`: the rows * columns
// patterns that the layout was planned for.
void EncodeTensor(const PackedLayout& layout, const uint16_t* fp16, uint8_t* packed,
                  const ParallelFor& parallel_for = {});

// Encodes blocks [first_block, first_block + block_count) with their scales (see
// EncodeBlockWeights); `fp16` points at the first of these blocks. Different blocks may be encoded
// by different threads. Does not write the side list. Blocks outside the tensor end the process.
void EncodeBlocks(const PackedLayout& layout, int64_t first_block, int64_t block_count,
                  const uint16_t* fp16, uint8_t* packed);

// Writes the side list, from the whole tensor.
void EncodeSideList(const PackedLayout& layout, const uint16_t* fp16, uint8_t* packed);

// Decodes weights [first_column, first_column + column_count) of `row_count` rows, out row-major
// without padding, any alignment. fp16 and fp32 are the weights' values; bf16 rounds them to
// nearest even. A range outside the tensor ends the process. Whatever `packed` holds, nothing is
// read outside it nor written outside `out`.
struct DecodeRange {
  int64_t first_row = 0;
  int64_t row_count = 0;
  int64_t first_column = 0;
  int64_t column_count = 0;
};
void DecodeToFp16(const PackedLayout& layout, const uint8_t* packed, DecodeRange range,
                  uint16_t* out);
void DecodeToBf16(const PackedLayout& layout, const uint8_t* packed, DecodeRange range,
                  uint16_t* out);
void DecodeToFp32(const PackedLayout& layout, const uint8_t* packed, DecodeRange range, float* out);

// "AVX3", "AVX2", ...: the instruction set that run-time dispatch chose.
const char* SimdTargetName();

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_CODEC_H_
