// A file as one string.
#ifndef TIGHTFIT_CLIENT_FIDELITY_TEXT_FILE_H_
#define TIGHTFIT_CLIENT_FIDELITY_TEXT_FILE_H_

#include "server/base/status.h"

#include <string>

namespace tightfit::fidelity {

// At most 64 MiB. Errors: CANNOT_READ, which names `path`: it was given on the command line.
Result<std::string> ReadTextFile(const std::string& path);

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_TEXT_FILE_H_
