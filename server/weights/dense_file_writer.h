// WriteDenseWeights: the way back of server/weights/packed_checkpoint_writer.h. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_WEIGHTS_DENSE_FILE_WRITER_H_
#define TIGHTFIT_SERVER_WEIGHTS_DENSE_FILE_WRITER_H_

#include "kernels/codec.h"
#include "server/base/status.h"
#include "server/weights/packed_checkpoint.h"

#include <cstdint>
#include <functional>
#include <string>

namespace tightfit {

struct DenseFileReport {
  int64_t bytes = 0;
  std::string sha256;
  int64_t decoded_module_count = 0;
};

// Writes a weight file of all tensors of `checkpoint` in their order to `path`, as the exporter
// writes them: packed ones in fp16, decoded, all others as they are. Where none is packed, that is
// the exporter's file, bit for bit. Checks every tensor. `progress` as of WritePackedCheckpoint,
// with the packed bytes. Errors: PackedCheckpoint::Read's; PACKING_STOPPED; CANNOT_WRITE. After an
// error there is nothing.
Result<DenseFileReport> WriteDenseWeights(const PackedCheckpoint& checkpoint,
                                          const std::string& path, const ParallelFor& parallel_for,
                                          const std::function<bool(int64_t)>& progress);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_DENSE_FILE_WRITER_H_
