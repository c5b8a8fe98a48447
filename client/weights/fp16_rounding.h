// Weights of files as fp16, which is what every codec takes.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_FP16_ROUNDING_H_
#define TIGHTFIT_CLIENT_WEIGHTS_FP16_ROUNDING_H_

#include "server/model/safetensors.h"

#include <cstdint>
#include <span>

namespace tightfit::weights {

// `stored`: out.size() weights of `dtype`, little-endian. Nearest fp16, ties to even, infinity from
// 65520 on; fp16 is taken as it is.
void RoundToFp16(StoredDtype dtype, std::span<const uint8_t> stored, std::span<uint16_t> out);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_FP16_ROUNDING_H_
