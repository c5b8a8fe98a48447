// The dispatcher operators that a rewritten graph calls instead of aten::linear and
// aten::_convolution:
//
//   tightfit::linear(Tensor x, Tensor weight, int[] shape, int format, Tensor? bias) -> Tensor
//   tightfit::conv2d(Tensor x, Tensor weight, int[] shape, int format, Tensor? bias,
//                    int[] stride, int[] padding, int[] dilation, int groups) -> Tensor
//
// A `weight` of uint8 is packed (packed_weight.h): of `format` (kernels/format.h), for a dense
// weight of `shape`: [N, K] for linear, [K, C, R, S] for conv2d, whose codes lie in the order K, R,
// S, C, so K rows of R*S*C. Any other `weight` is dense and used as it is: a tensor that its format
// cannot represent stays in the compute dtype without another graph.
//
// A packed weight is decoded whole, in x's dtype (fp32, bf16, fp16), into one buffer that all
// layers of all models share, one per thread that calls, and multiplied by LibTorch: decoding
// panels within the product costs more than it saves on a CPU. On CUDA the same happens on the
// default stream, where the next layer's decoding waits for this one's product.
#ifndef TIGHTFIT_SERVER_MODEL_PACKED_OPS_H_
#define TIGHTFIT_SERVER_MODEL_PACKED_OPS_H_

#include "server/memory/memory_accounts.h"

#include <torch/script.h>

#include <cstdint>

namespace tightfit {

// The buffer's account: no model and no component, since it belongs to none, purpose kScratch.
MemoryAccount* DecodeScratchAccount();

// Makes the calling thread's buffer at least `size_bytes` long, on `device`; operators grow it
// themselves when they must. May throw c10::OutOfMemoryError.
void ReserveDecodeScratch(int64_t size_bytes, at::Device device);

// Frees the calling thread's buffer.
void ReleaseDecodeScratch();

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_PACKED_OPS_H_
