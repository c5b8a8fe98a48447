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

// Scratch memory that EncodeTensor needs for this layout: 0 for formats without a choice of scales.
int64_t EncodeWorkspaceBytes(const PackedLayout& layout);

// Writes every byte of `packed` (layout.total_bytes, aligned to 16). `fp16`: the rows * columns
// patterns that the layout was planned for, all of which the format takes. `workspace`:
// EncodeWorkspaceBytes, aligned to 4, free again when the stream has come past the call.
cudaError_t EncodeTensor(const PackedLayout& layout, const uint16_t* fp16, uint8_t* packed,
                         void* workspace, cudaStream_t stream);

// How often each magnitude (an fp16 pattern without its sign) occurs: what the exponent bias and
// the length of the side list are chosen by, NaN and infinities included. Writes `counts`, 32768
// numbers.
cudaError_t CountMagnitudes(const uint16_t* fp16, int64_t count, uint32_t* counts,
                            cudaStream_t stream);

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CODEC_CUDA_H_
