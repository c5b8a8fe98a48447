// LayerTrials: packs single layers of a loaded model's UNet and puts them back, for whoever
// measures what that does to its images. Nothing is loaded again. For models on the CPU.
#ifndef TIGHTFIT_SERVER_PIPELINE_LAYER_TRIALS_H_
#define TIGHTFIT_SERVER_PIPELINE_LAYER_TRIALS_H_

#include "kernels/format.h"
#include "server/base/model_spec.h"
#include "server/base/status.h"
#include "server/pipeline/device_runtime.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tightfit {

// For the thread that calls the model, which must be loaded from `spec`, unpacked, and must stay.
class LayerTrials {
 public:
  // Errors: of the model directory; FAILED_PRECONDITION where the model is not loaded unpacked.
  static Result<std::unique_ptr<LayerTrials>> Open(DeviceRuntime& runtime, const ModelSpec& spec);
  virtual ~LayerTrials() = default;
  LayerTrials(const LayerTrials&) = delete;
  LayerTrials& operator=(const LayerTrials&) = delete;

  // The modules that the scope takes, in the order of the weight file, and its SHA-256 there.
  virtual const std::vector<std::string>& layers() const = 0;
  virtual const std::string& weights_sha256() const = 0;

  // The layer computes with its weight packed from now on. Returns how much of the weight's energy
  // the packing's noise is; nullopt where the format cannot hold it: then it stays as it is.
  // Errors: of reading the weight file.
  virtual Result<std::optional<double>> Pack(const std::string& layer, WeightFormat format) = 0;
  // The same noise; the layer goes on as it is.
  virtual Result<std::optional<double>> MeasureNoise(const std::string& layer,
                                                     WeightFormat format) = 0;
  // Every layer computes with the weight that was loaded.
  virtual void Restore() = 0;

 protected:
  LayerTrials() = default;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_LAYER_TRIALS_H_
