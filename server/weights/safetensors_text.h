// The JSON header of a safetensors file that is written here.
#ifndef TIGHTFIT_SERVER_WEIGHTS_SAFETENSORS_TEXT_H_
#define TIGHTFIT_SERVER_WEIGHTS_SAFETENSORS_TEXT_H_

#include "server/model/safetensors.h"

#include <cstdint>
#include <span>
#include <string>

namespace tightfit {

// The bytes of a file before its data: the header's size, `tensors` in their order, whose
// offset_bytes count from the start of the data, and blanks up to a multiple of 8 bytes; or, if
// `total_bytes` is not 0, which must be large enough, up to that. As the exporter writes it.
std::string SafetensorsStart(std::span<const StoredTensor> tensors, int64_t total_bytes = 0);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_SAFETENSORS_TEXT_H_
