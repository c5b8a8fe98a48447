// What a format does to the weights of a model's UNet.
#ifndef TIGHTFIT_CLIENT_FIDELITY_WEIGHT_FIDELITY_H_
#define TIGHTFIT_CLIENT_FIDELITY_WEIGHT_FIDELITY_H_

#include "client/weights/weight_report.h"
#include "kernels/distortion.h"
#include "kernels/format.h"
#include "server/base/status.h"
#include "server/model/safetensors.h"

#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>

namespace tightfit::fidelity {

class WeightFidelity {
 public:
  // Errors: of the model directory or its weight file.
  static Result<std::unique_ptr<WeightFidelity>> Open(const std::string& model_directory);

  // Over all weights of the scope that the format takes; each weight is measured once a format.
  // Meaningless once `stop` is asked for.
  Result<Distortion> Measure(const std::string& format, const std::string& scope,
                             const std::stop_token& stop);

 private:
  explicit WeightFidelity(std::unique_ptr<SafetensorsFile> file) : file_(std::move(file)) {}

  const std::unique_ptr<SafetensorsFile> file_;
  std::map<std::pair<WeightFormat, std::string>, weights::FormatCost> measured_;  // by tensor
};

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_WEIGHT_FIDELITY_H_
