#include "server/model/model_directory.h"

#include "server/model/file_reader.h"
#include "server/model/model_errors.h"
#include "server/model/model_manifest.h"

#include <filesystem>
#include <memory>
#include <system_error>

namespace tightfit {
namespace {

// A file that is missing for another reason is told of when it is opened.
Status RefuseShards(const ModelDirectory& model) {
  std::error_code error;
  if (!std::filesystem::exists(model.path + "/" + kShardListName, error)) return OkStatus();
  for (const auto& [name, component] : model.components) {
    if (std::filesystem::exists(model.PathOf(component.weights), error)) continue;
    return Status(StatusCode::kFailedPrecondition, "DIRECTORY_IS_CUT",
                  "the model is cut in shards for an upload; join them first: tightfit pack --join "
                  "DIR --out NEW_DIR")
        .WithDetail(model.path);
  }
  return OkStatus();
}

}  // namespace

std::vector<std::string> ComponentNamesOf(const ModelDirectory& directory) {
  std::vector<std::string> names;
  for (const std::string_view name : kModelComponents) names.emplace_back(name);
  names.emplace_back(kVaeEncoder);
  std::erase_if(names,
                [&](const std::string& name) { return !directory.components.contains(name); });
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
  TF_RETURN_IF_ERROR(RefuseShards(model));
  return model;
}

}  // namespace tightfit
