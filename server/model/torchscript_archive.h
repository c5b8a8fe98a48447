// LoadTorchScript: a .ts archive becomes a module, if all that it can do is allowed.
#ifndef TIGHTFIT_SERVER_MODEL_TORCHSCRIPT_ARCHIVE_H_
#define TIGHTFIT_SERVER_MODEL_TORCHSCRIPT_ARCHIVE_H_

#include "server/base/status.h"

#include <torch/script.h>

#include <string>

namespace tightfit {

inline constexpr int64_t kMaxGraphFileBytes = 64 << 20;

// `bytes` is the whole file, `file` what messages call it. Scans every record of the archive first,
// through the reader that LibTorch itself uses; loads it to the CPU; then checks every node of
// every graph. Errors: FORBIDDEN_OPERATOR, BAD_MODEL_DIRECTORY. May throw what LibTorch throws:
// call inside RunTorch.
Result<torch::jit::Module> LoadTorchScript(const std::string& file, const std::string& bytes);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_TORCHSCRIPT_ARCHIVE_H_
