#include "client/weights/input_file.h"

#include <utility>

namespace tightfit::weights {

Status AsInputError(const Status& status) {
  // Their messages go to clients of a server and leave out the path; here the user gave it.
  if (status.reason() == "FILE_MISSING") {
    return {StatusCode::kNotFound, "CANNOT_READ", "cannot read " + status.detail()};
  }
  if (status.reason() == "BAD_MODEL_DIRECTORY") {
    return {status.code(), "BAD_SAFETENSORS", status.message()};
  }
  return status;
}

Result<std::unique_ptr<FileReader>> OpenInput(const std::string& path) {
  auto file = FileReader::Open(path, path);
  if (!file.ok()) return AsInputError(file.status());
  return file;
}

Result<std::unique_ptr<SafetensorsFile>> OpenSafetensors(const std::string& path) {
  auto file = SafetensorsFile::Open(path, path);
  if (!file.ok()) return AsInputError(file.status());
  return file;
}

}  // namespace tightfit::weights
