#include "kernels/distortion.h"

#include "kernels/fp16.h"

#include <hwy/base.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace tightfit {
namespace {

float ValueOf(uint16_t fp16) { return Fp32OfFp16(fp16); }
float ValueOf(float fp32) { return fp32; }

template <typename Decoded>
Distortion Measure(std::span<const uint16_t> original, std::span<const Decoded> decoded) {
  HWY_ASSERT(original.size() == decoded.size());
  Distortion sum;
  sum.weight_count = static_cast<int64_t>(original.size());
  for (size_t i = 0; i < original.size(); ++i) {
    const double x = ValueOf(original[i]);
    const double y = ValueOf(decoded[i]);
    if (!std::isfinite(x) || !std::isfinite(y)) {
      ++sum.nonfinite_count;
      continue;
    }
    const double error = x - y;  // exact: both are fp16 numbers, or nearly
    sum.exact_count += x == y;
    sum.became_zero_count += x != 0 && y == 0;
    sum.became_nonzero_count += x == 0 && y != 0;
    sum.sign_flip_count += (x < 0 && y > 0) || (x > 0 && y < 0);
    sum.signal_energy += x * x;
    sum.noise_energy += error * error;
    sum.max_error = std::max(sum.max_error, std::abs(error));
  }
  return sum;
}

}  // namespace

void Distortion::Merge(const Distortion& other) {
  weight_count += other.weight_count;
  exact_count += other.exact_count;
  became_zero_count += other.became_zero_count;
  became_nonzero_count += other.became_nonzero_count;
  sign_flip_count += other.sign_flip_count;
  nonfinite_count += other.nonfinite_count;
  signal_energy += other.signal_energy;
  noise_energy += other.noise_energy;
  max_error = std::max(max_error, other.max_error);
}

double Distortion::SqnrDb() const {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (noise_energy == 0) return kInfinity;
  if (signal_energy == 0) return -kInfinity;
  return 10.0 * std::log10(signal_energy / noise_energy);
}

Distortion MeasureDistortion(std::span<const uint16_t> original,
                             std::span<const uint16_t> decoded) {
  return Measure(original, decoded);
}

Distortion MeasureDistortion(std::span<const uint16_t> original, std::span<const float> decoded) {
  return Measure(original, decoded);
}

}  // namespace tightfit
