// A packed weight as the graph holds it: one uint8 tensor, a header of kernels/packed_header.h and
// what it describes. The header tells what only the weight's own values decide: the exponent bias
// and the length of the side list.
#ifndef TIGHTFIT_SERVER_MODEL_PACKED_WEIGHT_H_
#define TIGHTFIT_SERVER_MODEL_PACKED_WEIGHT_H_

#include "kernels/codec.h"

#include <torch/script.h>

#include <cstdint>

namespace tightfit {

// Rows and columns of a dense weight of any rank >= 1: the first dimension are the rows.
EncodingPlan PlanWeight(WeightFormat format, at::IntArrayRef shape, const uint16_t* fp16);

// `fp16`: the weight that was planned, in the order of its codes. Allocates; may throw
// c10::OutOfMemoryError.
at::Tensor PackWeight(const PackedLayout& layout, at::IntArrayRef shape, const uint16_t* fp16);

// The same weight in the memory of `device`. Beside its bytes a weight on another device than the
// CPU carries its layout, so that nobody has to read its header there. May throw what LibTorch
// throws.
at::Tensor CopyPackedWeight(const at::Tensor& packed, at::Device device);

// The layout of a packed weight, which must be of this format and shape; throws c10::Error where it
// is not.
PackedLayout LayoutOfPackedWeight(const at::Tensor& packed, WeightFormat format,
                                  at::IntArrayRef shape);

// Where the layout's parts begin.
const uint8_t* PackedBytes(const at::Tensor& packed);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_PACKED_WEIGHT_H_
