// Sensitivity: what packing one layer of a UNet does to the final latents, as `tightfit fidelity
// --sensitivity` measured it and a model directory keeps it (sensitivity.json; specified in
// deploy/export/MODEL_DIRECTORY.md). Free of LibTorch.
#ifndef TIGHTFIT_SERVER_WEIGHTS_SENSITIVITY_H_
#define TIGHTFIT_SERVER_WEIGHTS_SENSITIVITY_H_

#include "kernels/format.h"
#include "server/base/status.h"
#include "server/model/model_directory.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tightfit {

inline constexpr char kSensitivityFile[] = "sensitivity.json";

// What all layers packed at once did, beside what was predicted.
struct JointMeasurement {
  std::string format;
  double predicted_error = 0.0;  // the sum over all layers
  double latent_error = 0.0;     // measured
  double image_psnr_db = 0.0;    // measured; mean over the prompts
};

struct Sensitivity {
  std::string weights_sha256;  // of the UNet's weight file that was measured
  std::string scope;           // whose layers were measured
  // How it was measured, for readers.
  std::vector<std::string> measured_formats;
  std::string sampler;
  int32_t step_count = 0;
  int32_t prompt_count = 0;
  int64_t seed = 0;
  int32_t width_px = 0;
  int32_t height_px = 0;

  std::vector<WeightFormat> formats;  // that layers may be packed in
  // By module, in the order of `formats`: the predicted error of the final latents, relative to
  // their energy, where this layer alone is packed; nullopt: the format cannot hold it.
  std::map<std::string, std::vector<std::optional<double>>, std::less<>> layers;
  std::vector<JointMeasurement> joint;  // by rising predicted error; errors above 0

  // The sum of errors at which images are expected to have this PSNR: between the joint
  // measurements, decibel by decibel, and beyond them in a straight line. Requires a measurement.
  double ErrorForPsnr(double image_psnr_db) const;
  // The other way round; infinite without an error.
  double PsnrForError(double error) const;
};

// Errors: BAD_MODEL_DIRECTORY with the key and what is wrong.
Result<Sensitivity> ParseSensitivity(std::string_view text);
// What ParseSensitivity reads: three digits of each error.
std::string SensitivityText(const Sensitivity& sensitivity);

// Of a directory's UNet. Errors: SENSITIVITY_MISSING with the command that measures it; those of
// the listed file; BAD_MODEL_DIRECTORY also where it is of other weights.
Result<Sensitivity> ReadSensitivity(const ModelDirectory& directory);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_SENSITIVITY_H_
