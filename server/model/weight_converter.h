// LoadWeights: a weight file becomes the tensors of a graph, one tensor at a time.
#ifndef TIGHTFIT_SERVER_MODEL_WEIGHT_CONVERTER_H_
#define TIGHTFIT_SERVER_MODEL_WEIGHT_CONVERTER_H_

#include "kernels/codec.h"
#include "server/base/status.h"
#include "server/engine/diffusion_model.h"
#include "server/memory/memory_accounts.h"
#include "server/model/safetensors.h"
#include "server/model/torchscript_graph.h"

#include <torch/script.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace tightfit {

struct ConversionOptions {
  std::optional<WeightFormat> format;  // of the packable slots; absent: nothing is packed
  at::ScalarType dtype = at::kFloat;   // of everything else
  at::Device device = at::kCPU;
  MemoryAccount* weights = nullptr;  // charged with what stays
  MemoryAccount* scratch = nullptr;  // charged with the staging buffers
};

struct ConversionReport {
  int64_t packed_bytes = 0;
  int64_t packed_parameter_count = 0;
  int32_t packed_module_count = 0;
  // Bytes of the largest packed weight once decoded to the compute dtype.
  int64_t largest_decoded_bytes = 0;
  // Weights of the scope that are not packed, in the order of the slots.
  std::vector<UnpackedModule> unpacked_modules;
};

// Why `tensor` cannot be packed although its module can: "3 NaN", "7 values above the largest value
// 0.75 of hf8". Empty when it can; *plan is then how. `fp16`: its values, where it is stored as
// F16; their order does not matter.
std::string WhyNotPackable(WeightFormat format, const StoredTensor& tensor, const uint16_t* fp16,
                           EncodingPlan* plan);

// Reads `file` once from beginning to end into one staging buffer of the largest tensor's size (and
// one more for convolutions, to change the order of their weights), hashing every byte, and fills
// each slot with its tensor, packed or in the compute dtype, on the device. It is packed in host
// memory: over the bus go packed bytes. Tensors without a slot are read, hashed and dropped.
// `sha256` is what the file must have, "" where that is not known. `progress` gets the bytes read
// since the last call; if it returns false the end is LoadStopped. Packable slots must have been
// rewritten. Errors: DATA_LOSS FILE_TRUNCATED, CHECKSUM_MISMATCH; BAD_MODEL_DIRECTORY for a slot
// without a tensor. After an error the slots hold empty tensors. May throw what LibTorch throws:
// call inside RunTorch.
Result<ConversionReport> LoadWeights(const SafetensorsFile& file, const std::string& sha256,
                                     std::vector<ParameterSlot>& slots,
                                     const ConversionOptions& options,
                                     const std::function<bool(int64_t)>& progress);

// Copies what every slot holds, packed weights packed, to the memory of `device`; where that throws
// the slots are as they were. Bytes of the copies.
int64_t MoveWeights(std::vector<ParameterSlot>& slots, at::Device device);

// Sets every slot to an empty tensor: what they held is freed, and the graph stays ready to be
// filled.
void ClearWeights(std::vector<ParameterSlot>& slots);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_WEIGHT_CONVERTER_H_
