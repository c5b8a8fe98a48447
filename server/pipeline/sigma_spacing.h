// Noise levels that are spread by a formula, and the timesteps that belong to them. In fp64, as
// numpy computes them. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_PIPELINE_SIGMA_SPACING_H_
#define TIGHTFIT_SERVER_PIPELINE_SIGMA_SPACING_H_

#include <cstdint>
#include <vector>

namespace tightfit {

// `count` levels from `largest` to `smallest`; of one, it is the largest.
std::vector<double> KarrasSigmas(double largest, double smallest, int32_t count);
std::vector<double> ExponentialSigmas(double largest, double smallest, int32_t count);

// Where `sigma` lies between the ascending `training_sigmas`, by interpolation of logarithms; 0 to
// size - 1.
double TimestepOfSigma(double sigma, const std::vector<float>& training_sigmas);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_SIGMA_SPACING_H_
