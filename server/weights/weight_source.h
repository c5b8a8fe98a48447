// WeightSource: the weight file of one component, opened and held against what the model directory
// says of it: a safetensors file whose weights are packed as they are loaded, or a packed
// checkpoint. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_WEIGHTS_WEIGHT_SOURCE_H_
#define TIGHTFIT_SERVER_WEIGHTS_WEIGHT_SOURCE_H_

#include "server/base/status.h"
#include "server/model/model_directory.h"
#include "server/model/safetensors.h"
#include "server/weights/packed_checkpoint.h"
#include "server/weights/weight_table.h"

#include <memory>
#include <string>

namespace tightfit {

// Thread-safe.
class WeightSource {
 public:
  // Opens the file of `component`, which is one of `directory`, and if `other_path` is not empty
  // that safetensors file in its place, which must hold every tensor of the component in its shape.
  // Errors: SafetensorsFile::Open's, PackedCheckpoint::Open's; FILE_TRUNCATED if the component's
  // file has another size than model.json says; BAD_MODEL_DIRECTORY naming the tensor.
  static Result<std::unique_ptr<WeightSource>> Open(const ModelDirectory& directory,
                                                    const ManifestComponent& component,
                                                    const std::string& other_path);

  // Exactly one of both is not null.
  const SafetensorsFile* safetensors() const { return safetensors_.get(); }
  const PackedCheckpoint* packed() const { return packed_.get(); }
  // "unet.safetensors"
  const std::string& name() const { return packed_ ? packed_->name() : safetensors_->name(); }

  // How its tensors are held; a packed checkpoint's as they are packed, whatever `packing` says.
  WeightTable Table(const ComponentPacking& packing) const;

 private:
  WeightSource() = default;
  Status OpenOther(const std::string& path);

  LayerKinds layers_;
  std::unique_ptr<SafetensorsFile> safetensors_;
  std::unique_ptr<PackedCheckpoint> packed_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_WEIGHT_SOURCE_H_
