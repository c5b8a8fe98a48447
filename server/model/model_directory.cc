#include "server/model/model_directory.h"

#include "server/model/file_reader.h"
#include "server/model/model_errors.h"
#include "server/model/model_manifest.h"

#include <iterator>
#include <memory>

namespace tightfit {

std::vector<std::string> ComponentNamesOf(const ModelDirectory& directory) {
  std::vector<std::string> names(std::begin(kModelComponents), std::end(kModelComponents));
  if (directory.components.contains(kVaeEncoder)) names.emplace_back(kVaeEncoder);
  return names;
}

Result<std::string> ReadManifestText(const std::string& path) {
  constexpr int64_t kMaxManifestBytes = 1 << 20;
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<FileReader> file,
                      FileReader::Open(path + "/" + kManifestName, kManifestName));
  if (file->size_bytes() > kMaxManifestBytes) {
    return BadModelDirectory(kManifestName, "the file is larger than 1 MiB");
  }
  std::string text(static_cast<size_t>(file->size_bytes()), '\0');
  TF_RETURN_IF_ERROR(file->ReadAt(0, file->size_bytes(), text.data()));
  return text;
}

Result<ModelDirectory> ReadModelDirectory(const std::string& path) {
  TF_ASSIGN_OR_RETURN(const std::string text, ReadManifestText(path));
  TF_ASSIGN_OR_RETURN(ModelDirectory model, ParseManifest(text));
  model.path = path;
  return model;
}

}  // namespace tightfit
