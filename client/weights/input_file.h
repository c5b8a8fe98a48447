// Files that the user names, with errors that say the whole path.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_INPUT_FILE_H_
#define TIGHTFIT_CLIENT_WEIGHTS_INPUT_FILE_H_

#include "server/base/status.h"
#include "server/model/file_reader.h"
#include "server/model/safetensors.h"

#include <memory>
#include <string>

namespace tightfit::weights {

// Errors: CANNOT_READ, with what the system said.
Result<std::unique_ptr<FileReader>> OpenInput(const std::string& path);

// Errors: CANNOT_READ; BAD_SAFETENSORS where the header is not what the format allows;
// FILE_TRUNCATED.
Result<std::unique_ptr<SafetensorsFile>> OpenSafetensors(const std::string& path);

// An error of FileReader or SafetensorsFile as this command tells it.
Status AsInputError(const Status& status);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_INPUT_FILE_H_
