// ReadInputFile: a file that a flag names.
#ifndef TIGHTFIT_CLIENT_CLI_INPUT_FILE_H_
#define TIGHTFIT_CLIENT_CLI_INPUT_FILE_H_

#include <cstddef>
#include <string>

namespace tightfit::cli {

// The whole file. Throws CLI::ValidationError for `flag` where it cannot be read, is empty, or is
// larger than `max_bytes`.
std::string ReadInputFile(const char* flag, const std::string& path, size_t max_bytes);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_INPUT_FILE_H_
