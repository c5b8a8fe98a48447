// ReadWholeFile, ReadStdin: what is read at once, and never without end.
#ifndef TIGHTFIT_CLIENT_CLI_WHOLE_FILE_H_
#define TIGHTFIT_CLIENT_CLI_WHOLE_FILE_H_

#include "server/base/status.h"

#include <cstddef>
#include <string>

namespace tightfit::cli {

// The bytes of the file, or of the pipe or device, at `path`; waits for the writer of a FIFO.
// Errors: CANNOT_READ, which names `path`, for what cannot be read, is a folder, is empty, or goes
// on beyond `max_bytes`.
Result<std::string> ReadWholeFile(const std::string& path, size_t max_bytes);

// The same of the standard input, which may be empty.
Result<std::string> ReadStdin(size_t max_bytes);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_WHOLE_FILE_H_
