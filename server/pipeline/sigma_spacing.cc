#include "server/pipeline/sigma_spacing.h"

#include <algorithm>
#include <cmath>

namespace tightfit {
namespace {

// numpy.linspace(first, last, count)[i]
double LinSpaceAt(double first, double last, int32_t count, int32_t i) {
  if (i == 0) return first;
  return i == count - 1 ? last : i * ((last - first) / (count - 1)) + first;
}

}  // namespace

std::vector<double> KarrasSigmas(double largest, double smallest, int32_t count) {
  constexpr double kRho = 7.0;
  const double from = std::pow(largest, 1.0 / kRho);
  const double to = std::pow(smallest, 1.0 / kRho);
  std::vector<double> sigmas(count);
  for (int32_t i = 0; i < count; ++i) {
    sigmas[i] = std::pow(from + LinSpaceAt(0.0, 1.0, count, i) * (to - from), kRho);
  }
  return sigmas;
}

std::vector<double> ExponentialSigmas(double largest, double smallest, int32_t count) {
  std::vector<double> sigmas(count);
  for (int32_t i = 0; i < count; ++i) {
    sigmas[i] = std::exp(LinSpaceAt(std::log(largest), std::log(smallest), count, i));
  }
  return sigmas;
}

double TimestepOfSigma(double sigma, const std::vector<float>& training_sigmas) {
  if (training_sigmas.size() < 2) return 0.0;
  const double log_sigma = std::log(std::max(sigma, 1e-10));
  // The last level that is not above sigma, but for the very last one.
  size_t low = 0;
  while (low + 2 < training_sigmas.size() &&
         static_cast<double>(std::log(training_sigmas[low + 1])) <= log_sigma) {
    ++low;
  }
  const float low_log = std::log(training_sigmas[low]);
  const float high_log = std::log(training_sigmas[low + 1]);
  const double weight = std::clamp((low_log - log_sigma) / (low_log - high_log), 0.0, 1.0);
  return (1.0 - weight) * static_cast<double>(low) + weight * static_cast<double>(low + 1);
}

}  // namespace tightfit
