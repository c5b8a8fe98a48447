// What the encode kernels work at: one tensor, passed by value as a kernel parameter. Encoding runs
// in passes; a pass is a type with
//   static uint64_t Count(const EncodeTask&)         how many threads it needs
//   static void Run(const EncodeTask&, uint64_t i)   what thread i does
// and the order of passes is in encode_passes.h.
#ifndef TIGHTFIT_KERNELS_CUDA_ENCODE_TASK_H_
#define TIGHTFIT_KERNELS_CUDA_ENCODE_TASK_H_

#include "kernels/cuda/decode_table.h"
#include "kernels/cuda/device.h"
#include "kernels/packed_layout.h"
#include "kernels/row_scale_candidates.h"

#include <cstdint>

namespace tightfit::cuda {

// Weights whose outliers one thread writes to the side list.
inline constexpr uint32_t kSideChunkWeights = 1024;

struct EncodeTask {
  const uint16_t* fp16;
  uint8_t* low;
  uint8_t* high;
  uint16_t* scales;
  uint8_t* block_scales;
  uint8_t* side_positions;
  uint16_t* side_values;
  // Workspace, zero at the start. Largest magnitudes as fp16 patterns, of rows or superblocks; the
  // errors of each row's candidates; the outliers of each chunk, then where its list begins.
  uint32_t* maxima;
  float* errors;
  uint32_t* side_counts;

  uint64_t low_row_bytes;
  uint64_t high_row_bytes;
  uint32_t rows;
  uint32_t columns;
  uint32_t code_columns;
  uint32_t weights;
  uint32_t groups;          // of all code rows
  uint32_t groups_per_row;  // of one
  Divisor groups_per_row_divisor;
  uint32_t side_count;
  uint32_t side_limit;  // larger magnitudes, as fp16 patterns, go to the side list
  uint32_t tensor_scale;
  float row_factors[kRowScaleCandidates];  // F_j
};

// Zero bytes where the format needs none. Requires what EncodeTensor of codec_cuda.h does.
int64_t WorkspaceBytes(const PackedLayout& layout);
bool CanEncode(const PackedLayout& layout);
EncodeTask EncodeTaskOf(const PackedLayout& layout, const uint16_t* fp16, uint8_t* packed,
                        void* workspace);

// The weights of a group: row-major, sixteen of one code row, absent ones 0. Returns how many there
// are.
TIGHTFIT_HOST_DEVICE uint32_t LoadWeights(const EncodeTask& task, uint32_t group, uint32_t* row,
                                          uint32_t* weights) {
  *row = Quotient(group, task.groups_per_row_divisor);
  const uint32_t first_column =
      (group - *row * task.groups_per_row) * static_cast<uint32_t>(kGroupWeights);
  const uint32_t left = task.code_columns - first_column;
  const uint32_t count = left < kGroupWeights ? left : static_cast<uint32_t>(kGroupWeights);
  const uint16_t* const from =
      task.fp16 + (static_cast<uint64_t>(*row) * task.code_columns + first_column);
  TIGHTFIT_UNROLL
  for (uint32_t i = 0; i < kGroupWeights; ++i) weights[i] = i < count ? from[i] : 0;
  return count;
}

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_ENCODE_TASK_H_
