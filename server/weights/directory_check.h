// CheckDirectory: whether a model directory is still what its model.json says, to the last byte.
#ifndef TIGHTFIT_SERVER_WEIGHTS_DIRECTORY_CHECK_H_
#define TIGHTFIT_SERVER_WEIGHTS_DIRECTORY_CHECK_H_

#include "server/base/status.h"
#include "server/weights/directory_rewrite.h"

#include <cstdint>
#include <string>
#include <vector>

namespace tightfit {

struct DamagedPart {
  std::string file;
  std::string tensor;  // "" of a whole file
  Status status;
};

struct DirectoryCheckReport {
  int64_t file_count = 0;
  int64_t tensor_count = 0;  // of packed checkpoints
  int64_t bytes = 0;         // of the files
  // In the order of model.json and of the files. Of a packed checkpoint with damaged tensors these
  // alone.
  std::vector<DamagedPart> damaged;
};

// Reads every listed file of `model` and holds it against model.json, and every tensor of packed
// checkpoints against their index, in `thread_count` threads. `progress` is called by one of them
// at a time. Errors: ReadModelDirectory's; PACKING_STOPPED.
Result<DirectoryCheckReport> CheckDirectory(const std::string& model, int thread_count,
                                            const DirectoryProgress& progress);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_DIRECTORY_CHECK_H_
