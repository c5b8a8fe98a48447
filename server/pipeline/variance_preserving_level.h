// A noise level of latents that keep unit variance: alpha * signal + sigma * noise.
#ifndef TIGHTFIT_SERVER_PIPELINE_VARIANCE_PRESERVING_LEVEL_H_
#define TIGHTFIT_SERVER_PIPELINE_VARIANCE_PRESERVING_LEVEL_H_

#include <cmath>

namespace tightfit {

struct VariancePreservingLevel {
  // `ratio` of noise to signal, as NoiseSchedule has it; 0 gives an infinite lambda.
  explicit VariancePreservingLevel(float ratio)
      : alpha(1.0f / std::sqrt(ratio * ratio + 1.0f)),
        sigma(ratio * alpha),
        lambda(std::log(alpha) - std::log(sigma)) {}

  const float alpha;
  const float sigma;
  const float lambda;  // half the logarithm of signal to noise
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_VARIANCE_PRESERVING_LEVEL_H_
