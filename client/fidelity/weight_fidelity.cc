#include "client/fidelity/weight_fidelity.h"

#include "client/weights/input_file.h"
#include "client/weights/parallel_work.h"
#include "client/weights/weight_tensors.h"
#include "server/base/cpu_share.h"
#include "server/model/model_directory.h"

namespace tightfit::fidelity {

Result<std::unique_ptr<WeightFidelity>> WeightFidelity::Open(const std::string& model_directory) {
  TF_ASSIGN_OR_RETURN(const ModelDirectory directory, ReadModelDirectory(model_directory));
  const auto unet = directory.components.find("unet");
  if (unet == directory.components.end()) {
    return Status(StatusCode::kFailedPrecondition, "BAD_MODEL_DIRECTORY",
                  "model.json lists no component unet");
  }
  TF_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file,
                      weights::OpenSafetensors(directory.PathOf(unet->second.weights)));
  return std::unique_ptr<WeightFidelity>(new WeightFidelity(std::move(file)));
}

Result<Distortion> WeightFidelity::Measure(const std::string& format, const std::string& scope,
                                           const std::stop_token& stop) {
  const std::optional<WeightFormat> known = FormatByName(format);
  if (!known.has_value()) return InvalidArgument("there is no format \"" + format + "\"");
  const weights::TensorChoice choice =
      weights::ChooseTensors(file_->tensors(), {.scope = scope, .name_pattern = "*"});
  const ParallelFor parallel_for =
      weights::Interruptible(InThreads(ReadCpuShare().thread_count()), stop);
  weights::TotalCost total;
  for (const StoredTensor& tensor : choice.tensors) {
    const std::pair key(*known, tensor.name);
    auto found = measured_.find(key);
    if (found == measured_.end()) {
      TF_ASSIGN_OR_RETURN(const weights::LoadedTensor loaded, weights::LoadTensor(*file_, tensor));
      found =
          measured_.emplace(key, weights::MeasureFormat(*known, loaded, parallel_for, stop)).first;
    }
    total.Add(found->second);
  }
  return total.distortion;
}

}  // namespace tightfit::fidelity
