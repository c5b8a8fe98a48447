// Sizes that people type, with their unit: "1900MiB".
#ifndef TIGHTFIT_CLIENT_CLI_BYTE_SIZE_H_
#define TIGHTFIT_CLIENT_CLI_BYTE_SIZE_H_

#include "server/base/status.h"

#include <cstdint>
#include <string>

namespace tightfit::cli {

// A number, with a fraction or without, and MiB, GiB, MB or GB behind it. Bytes that are not whole
// are left out. Errors: INVALID_ARGUMENT that says what is taken.
Result<int64_t> ParseByteSize(const std::string& text, int64_t low_bytes, int64_t high_bytes);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_BYTE_SIZE_H_
