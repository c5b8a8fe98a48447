#include "server/model/weight_files.h"

#include "server/model/file_reader.h"
#include "server/model/model_errors.h"

#include <filesystem>
#include <string_view>
#include <unordered_map>

namespace tightfit {
namespace {

Status CheckSize(const ListedFile& listed, int64_t size_bytes) {
  if (size_bytes == listed.bytes) return OkStatus();
  return FileTruncated(listed.file, "the file has " + std::to_string(size_bytes) +
                                        " bytes, but model.json says " +
                                        std::to_string(listed.bytes));
}

Result<std::unique_ptr<SafetensorsFile>> OpenListedWeights(const ModelDirectory& directory,
                                                           const ListedFile& listed) {
  TF_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(directory.PathOf(listed), listed.file));
  TF_RETURN_IF_ERROR(CheckSize(listed, file->size_bytes()));
  return file;
}

// Opens another file in place of `listed`, whose tensors tell which names and shapes there must be.
Result<std::unique_ptr<SafetensorsFile>> OpenOtherWeights(const SafetensorsFile& listed,
                                                          const std::string& path) {
  TF_ASSIGN_OR_RETURN(auto file,
                      SafetensorsFile::Open(path, std::filesystem::path(path).filename()));
  std::unordered_map<std::string_view, const StoredTensor*> tensors;
  for (const StoredTensor& tensor : file->tensors()) tensors[tensor.name] = &tensor;
  for (const StoredTensor& wanted : listed.tensors()) {
    const auto found = tensors.find(wanted.name);
    if (found == tensors.end() || found->second->shape != wanted.shape) {
      return BadModelDirectory(
          file->name(), "holds no \"" + wanted.name +
                            "\" of the shape that this model has; python -m tightfit_export --vae "
                            "converts other layouts");
    }
  }
  return file;
}

}  // namespace

Result<std::unique_ptr<SafetensorsFile>> OpenWeights(const ModelDirectory& directory,
                                                     const ListedFile& listed,
                                                     const std::string& other_path) {
  TF_ASSIGN_OR_RETURN(auto file, OpenListedWeights(directory, listed));
  if (other_path.empty()) return file;
  return OpenOtherWeights(*file, other_path);
}

Status CheckListedSize(const ModelDirectory& directory, const ListedFile& file) {
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<FileReader> reader,
                      FileReader::Open(directory.PathOf(file), file.file));
  return CheckSize(file, reader->size_bytes());
}

}  // namespace tightfit
