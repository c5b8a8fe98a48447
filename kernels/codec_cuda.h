// Encode and decode tensors of weights on a CUDA device.
//
// Pointers are device pointers. Every function only puts work on `stream`: it allocates nothing,
// waits for nothing, and may be captured into a CUDA graph (of PackedLayout and DecodeJob the graph
// keeps copies). What it returns is cudaSuccess, cudaErrorInvalidValue where the arguments break
// the contract, or the error of a launch. Thread-safe.
//
// The same bits as codec.h, on every device.
#ifndef TIGHTFIT_KERNELS_CODEC_CUDA_H_
#define TIGHTFIT_KERNELS_CODEC_CUDA_H_

#include "kernels/cuda/decode_table.h"
#include "kernels/packed_layout.h"

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

namespace tightfit::cuda {

// Decodes whole tensors of one format, at most kMaxDecodeTensors of them and each of at most
// kMaxGroups groups of sixteen weights: one launch, and a second where a tensor has a side list.
// `packed` is aligned to 16 bytes, `out` to its element; one that is aligned to 16 bytes is written
// faster. Whatever `packed` holds, nothing is read outside it nor written outside `out`.
cudaError_t DecodeTensors(std::span<const DecodeJob> jobs, DecodedType type, cudaStream_t stream);

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CODEC_CUDA_H_
