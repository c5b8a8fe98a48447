// LoadWeights: a weight file becomes the tensors of a graph, one tensor at a time.
#ifndef TIGHTFIT_SERVER_WEIGHTS_WEIGHT_LOADER_H_
#define TIGHTFIT_SERVER_WEIGHTS_WEIGHT_LOADER_H_

#include "server/base/status.h"
#include "server/engine/diffusion_model.h"
#include "server/memory/memory_accounts.h"
#include "server/model/safetensors.h"
#include "server/weights/packed_checkpoint.h"
#include "server/weights/weight_slot.h"
#include "server/weights/weight_table.h"

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tightfit {

struct LoadOptions {
  at::ScalarType dtype = at::kFloat;  // of what is not packed
  at::Device device = at::kCPU;
  MemoryAccount* weights = nullptr;  // charged with what stays
  MemoryAccount* scratch = nullptr;  // charged with the staging buffers
};

struct LoadReport {
  int64_t packed_bytes = 0;
  int64_t packed_parameter_count = 0;
  int32_t packed_module_count = 0;
  // Bytes of the largest packed weight once decoded to the compute dtype.
  int64_t largest_decoded_bytes = 0;
  // Weights of the scope that are not packed, in the order of the slots.
  std::vector<UnpackedModule> unpacked_modules;
};

// Reads `file` once from beginning to end into one staging buffer of the largest tensor's size (one
// more for convolutions, to change the order of their weights, and one for those in bf16, which are
// packed as fp16), hashing every byte, and fills each slot with its tensor on the device, held as
// `table`, which is of this file, says. On CUDA it is packed there, from fp16 values that pass
// through `options.scratch`. Tensors without a slot are read, hashed and dropped. `sha256` is what
// the file must have, "" where that is not known. `progress` gets the bytes read since the last
// call; if it returns false the end is LoadStopped. Errors: DATA_LOSS FILE_TRUNCATED,
// CHECKSUM_MISMATCH; BAD_MODEL_DIRECTORY for a slot without a tensor or of another rank. After an
// error the slots are empty. May throw what LibTorch throws: call inside RunTorch.
Result<LoadReport> LoadWeights(const SafetensorsFile& file, const std::string& sha256,
                               const WeightTable& table, std::vector<WeightSlot>& slots,
                               const LoadOptions& options,
                               const std::function<bool(int64_t)>& progress);

// The same for a packed checkpoint: reads each tensor that has a slot into its place, in the
// threads of at::parallel_for, and checks it. Dense tensors become the compute dtype. Errors: those
// of PackedCheckpoint::Read; BAD_MODEL_DIRECTORY also for a packed tensor that its slot cannot
// take.
// `table` is of `file`; what it streams is left out.
Result<LoadReport> LoadPackedWeights(const PackedCheckpoint& file, const WeightTable& table,
                                     std::vector<WeightSlot>& slots, const LoadOptions& options,
                                     const std::function<bool(int64_t)>& progress);

// Reads and checks what `table` streams, kReadBatchBytes at a time, calls `use` with each slot
// while it holds its weight, and empties it again. All of it is charged to `options.scratch`.
// Errors: those of LoadPackedWeights.
Status StreamWeights(const PackedCheckpoint& file, const WeightTable& table,
                     std::vector<WeightSlot>& slots, const LoadOptions& options,
                     const std::function<void(WeightSlot&)>& use);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_WEIGHT_LOADER_H_
