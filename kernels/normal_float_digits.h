// Where a normal float's digits lie: planes of 4 and 1 bits, or radix words (FORMATS.md section 6).
#ifndef TIGHTFIT_KERNELS_NORMAL_FLOAT_DIGITS_H_
#define TIGHTFIT_KERNELS_NORMAL_FLOAT_DIGITS_H_

#include "kernels/packed_layout.h"

#include <cstdint>

namespace tightfit::cpu {

// The digits of weights [first, first + count), one a byte, each below the format's level count.
void ReadDigits(const PackedLayout& layout, const uint8_t* packed, int64_t first, int64_t count,
                uint8_t* digits);

// Writes the digits of whole encode blocks, or up to the tensor's end, with the padding there.
void WriteDigits(const PackedLayout& layout, int64_t first, int64_t count, const uint8_t* digits,
                 uint8_t* packed);

}  // namespace tightfit::cpu

#endif  // TIGHTFIT_KERNELS_NORMAL_FLOAT_DIGITS_H_
