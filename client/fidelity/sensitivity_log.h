// SensitivityLog: what a run has measured so far, a JSON line for each layer and format, so that
// Ctrl-C, or a machine that goes down, costs one layer.
#ifndef TIGHTFIT_CLIENT_FIDELITY_SENSITIVITY_LOG_H_
#define TIGHTFIT_CLIENT_FIDELITY_SENSITIVITY_LOG_H_

#include "server/base/status.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tightfit::fidelity {

// One layer packed alone in one format.
struct LayerMeasurement {
  std::string layer;
  std::string format;
  // Of the weight's energy; absent: the format cannot hold it.
  std::optional<double> noise;
  // Of the final latents, relative to their energy, for each prompt.
  std::vector<double> errors;
};

// Not thread-safe.
class SensitivityLog {
 public:
  // Goes on with the file at `path` if its first line is `header`, the settings of the run as one
  // line of JSON; begins it if there is none. A line that was cut off counts as not there. Errors:
  // CANNOT_READ, CANNOT_WRITE; OTHER_SETTINGS where the file is of another run.
  static Result<std::unique_ptr<SensitivityLog>> Open(const std::string& path,
                                                      const std::string& header);
  ~SensitivityLog();
  SensitivityLog(const SensitivityLog&) = delete;
  SensitivityLog& operator=(const SensitivityLog&) = delete;

  const std::vector<LayerMeasurement>& measurements() const { return measurements_; }
  const LayerMeasurement* Find(const std::string& layer, const std::string& format) const;
  // Handed to the system when this returns. Errors: CANNOT_WRITE.
  Status Add(LayerMeasurement measurement);

 private:
  explicit SensitivityLog(std::string path) : path_(std::move(path)) {}
  Status Read(const std::string& header);
  Status Append(const std::string& line);

  const std::string path_;
  int descriptor_ = -1;
  std::vector<LayerMeasurement> measurements_;
};

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_SENSITIVITY_LOG_H_
