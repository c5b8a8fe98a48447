// The normal floats on the CPU (FORMATS.md section 4). No checks here: codec.cc has made them.
#ifndef TIGHTFIT_KERNELS_NORMAL_FLOAT_CPU_H_
#define TIGHTFIT_KERNELS_NORMAL_FLOAT_CPU_H_

#include "kernels/packed_layout.h"

#include <cstdint>

namespace tightfit::cpu {

// Encodes weights [first, first + count) of the flattened tensor with their scales; `fp16` holds
// them. `first` begins an encode block, and count ends one, or the tensor.
void EncodeNormalFloats(const PackedLayout& layout, int64_t first, int64_t count,
                        const uint16_t* fp16, uint8_t* packed);

// Decodes weights [first, first + count) of the flattened tensor.
void DecodeNormalToFp16(const PackedLayout& layout, const uint8_t* packed, int64_t first,
                        int64_t count, uint16_t* out);
void DecodeNormalToBf16(const PackedLayout& layout, const uint8_t* packed, int64_t first,
                        int64_t count, uint16_t* out);
void DecodeNormalToFp32(const PackedLayout& layout, const uint8_t* packed, int64_t first,
                        int64_t count, float* out);

}  // namespace tightfit::cpu

#endif  // TIGHTFIT_KERNELS_NORMAL_FLOAT_CPU_H_
