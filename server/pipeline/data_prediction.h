// What the UNet's output says the clean latents are.
#ifndef TIGHTFIT_SERVER_PIPELINE_DATA_PREDICTION_H_
#define TIGHTFIT_SERVER_PIPELINE_DATA_PREDICTION_H_

#include "server/base/status.h"

#include <ATen/ATen.h>

#include <cmath>
#include <string>

namespace tightfit {

enum class PredictionType {
  kEpsilon,  // the noise
  kV,        // alpha * noise - sigma * signal (Salimans and Ho 2022)
};

// Errors: UNIMPLEMENTED for another name than "epsilon" and "v_prediction".
inline Result<PredictionType> PredictionTypeByName(const std::string& name) {
  if (name == "epsilon") return PredictionType::kEpsilon;
  if (name == "v_prediction") return PredictionType::kV;
  return Status(StatusCode::kUnimplemented, "UNSUPPORTED_SCHEDULER",
                "the model's prediction_type is \"" + name + "\", which this build cannot sample");
}

// Of latents that hold signal + sigma * noise.
inline at::Tensor CleanFromSigma(PredictionType type, const at::Tensor& output,
                                 const at::Tensor& latents, float sigma) {
  if (type == PredictionType::kEpsilon) return latents - output * sigma;
  const float variance = sigma * sigma + 1.0f;
  return output * (-sigma / std::sqrt(variance)) + latents / variance;
}

// Of latents that hold alpha * signal + sigma * noise, alpha^2 + sigma^2 being 1.
inline at::Tensor CleanFromAlpha(PredictionType type, const at::Tensor& output,
                                 const at::Tensor& latents, float alpha, float sigma) {
  if (type == PredictionType::kEpsilon) return (latents - output * sigma) / alpha;
  return latents * alpha - output * sigma;
}

// `clean` cut off beyond +-`range`, or as it is if `range` is 0.
inline at::Tensor Clipped(const at::Tensor& clean, double range) {
  return range > 0.0 ? clean.clamp(-range, range) : clean;
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_DATA_PREDICTION_H_
