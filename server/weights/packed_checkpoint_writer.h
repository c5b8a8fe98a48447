// WritePackedCheckpoint: the weight file of one component becomes a packed checkpoint's, which
// server/weights/packed_checkpoint.h reads. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_WEIGHTS_PACKED_CHECKPOINT_WRITER_H_
#define TIGHTFIT_SERVER_WEIGHTS_PACKED_CHECKPOINT_WRITER_H_

#include "kernels/codec.h"
#include "server/base/status.h"
#include "server/model/safetensors.h"
#include "server/weights/weight_table.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tightfit {

// model.json's `packed.version`.
inline constexpr int64_t kPackedCheckpointVersion = 1;

// A weight that the scope takes and that is not packed, and why.
struct DenseModule {
  std::string module;
  std::string why;
};

struct PackedFileReport {
  int64_t bytes = 0;            // of the file
  std::string sha256;           // of the file
  std::string index_sha256;     // of its bytes before the first weight
  std::string original_sha256;  // of the weight file that was packed
  std::string format;           // "e2m5r"; "mixed" of several; "fp16" if none is packed
  int64_t weight_count = 0;     // of all tensors
  int64_t packed_weight_count = 0;
  int64_t packed_bytes = 0;  // of the codes
  int64_t packed_module_count = 0;
  std::vector<DenseModule> dense_modules;
};

// CANCELLED `PACKING_STOPPED`.
Status PackingStopped();

// Reads `source` once from beginning to end, hashing every byte, packs its tensors as `table`,
// which is of this file, says, and writes them in their order to `path`: to a hidden file beside it
// that takes the name once all is written (server/weights/new_file.h). In memory are the largest
// tensor, its codes, and as much again where its order or type changes. `source_sha256`: what
// `source` must have. `progress`, which may be empty, gets the bytes of each tensor of `source`
// that is done; if it returns false the end is PackingStopped. A weight that the format cannot hold
// stays as it is stored. Errors: FILE_TRUNCATED, CHECKSUM_MISMATCH of `source`; BAD_MODEL_DIRECTORY
// if it has more tensors than a packed checkpoint can; CANNOT_WRITE. After an error there is
// nothing.
Result<PackedFileReport> WritePackedCheckpoint(const SafetensorsFile& source,
                                               const std::string& source_sha256,
                                               const WeightTable& table, const std::string& path,
                                               const ParallelFor& parallel_for,
                                               const std::function<bool(int64_t)>& progress);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_PACKED_CHECKPOINT_WRITER_H_
