// Where the bytes for an output path belong: a file that may be replaced, or something that is no
// file and must never be.
#ifndef TIGHTFIT_CLIENT_CLI_OUTPUT_TARGET_H_
#define TIGHTFIT_CLIENT_CLI_OUTPUT_TARGET_H_

#include "server/base/status.h"

#include <filesystem>
#include <string_view>

namespace tightfit::cli {

struct OutputTarget {
  std::filesystem::path path;  // without links
  // A device, a FIFO, a socket, or an open file of this process (/dev/stdout): to be written into.
  // A rename would put a file in its place, for the whole machine where it is /dev/null.
  bool is_stream = false;
  bool is_stdout = false;  // what this process has as its standard output
};

// Follows links, also those to what does not exist yet. Errors: CANNOT_WRITE for links that lead in
// a circle.
Result<OutputTarget> ResolveOutput(const std::filesystem::path& path);

// Writes all of `content` into the stream at `path`; waits for the reader of a FIFO. Errors:
// CANNOT_WRITE.
Status WriteIntoStream(const std::filesystem::path& path, std::string_view content);

// CANNOT_WRITE: "cannot write PATH: PROBLEM".
Status CannotWrite(const std::filesystem::path& path, std::string_view problem);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_OUTPUT_TARGET_H_
