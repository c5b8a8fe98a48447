#include "server/weights/weight_source.h"

#include "server/model/model_errors.h"

#include <filesystem>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace tightfit {

Result<std::unique_ptr<WeightSource>> WeightSource::Open(const ModelDirectory& directory,
                                                         const ManifestComponent& component,
                                                         const std::string& other_path) {
  std::unique_ptr<WeightSource> source(new WeightSource);
  source->layers_ = component.layers;
  const ListedFile& listed = component.weights;
  TF_RETURN_IF_ERROR(CheckListedSize(directory.path, listed));
  const std::string path = directory.PathOf(listed);
  if (component.packed.has_value()) {
    TF_ASSIGN_OR_RETURN(source->packed_,
                        PackedCheckpoint::Open(path, listed.file, component.packed->index_sha256));
  } else {
    TF_ASSIGN_OR_RETURN(source->safetensors_, SafetensorsFile::Open(path, listed.file));
  }
  if (!other_path.empty()) TF_RETURN_IF_ERROR(source->OpenOther(other_path));
  return source;
}

Status WeightSource::OpenOther(const std::string& path) {
  TF_ASSIGN_OR_RETURN(auto other,
                      SafetensorsFile::Open(path, std::filesystem::path(path).filename()));
  std::unordered_map<std::string_view, const StoredTensor*> tensors;
  for (const StoredTensor& tensor : other->tensors()) tensors[tensor.name] = &tensor;
  const WeightTable table = Table({});
  for (const WeightEntry& wanted : table.entries()) {
    const auto found = tensors.find(wanted.tensor.name);
    if (found == tensors.end() || found->second->shape != wanted.tensor.shape) {
      return BadModelDirectory(
          other->name(), "holds no \"" + wanted.tensor.name +
                             "\" of the shape that this model has; python -m tightfit_export --vae "
                             "converts other layouts");
    }
  }
  safetensors_ = std::move(other);
  packed_.reset();
  return OkStatus();
}

WeightTable WeightSource::Table(const ComponentPacking& packing) const {
  if (packed_) return WeightTable(packed_->tensors(), layers_, packing.streams_text);
  return WeightTable(safetensors_->tensors(), layers_, packing);
}

}  // namespace tightfit
