// Distortion: what a lossy format did to weights, beside the bytes that it saved.
#ifndef TIGHTFIT_KERNELS_DISTORTION_H_
#define TIGHTFIT_KERNELS_DISTORTION_H_

#include <cstdint>
#include <span>

namespace tightfit {

// Counts and energies over any number of weights. Parts may be measured by different threads and
// merged; sums of doubles depend on the order, so whoever wants the same last digit at every run
// merges the same parts in the same order.
struct Distortion {
  int64_t weight_count = 0;
  int64_t exact_count = 0;           // decoded to the same value; +0 and -0 are one value
  int64_t became_zero_count = 0;     // small weights that were rounded to zero
  int64_t became_nonzero_count = 0;  // zeros that the format cannot hold
  int64_t sign_flip_count = 0;       // a positive weight became negative, or the reverse
  // Weights that are, or became, NaN or infinite: they are in weight_count and in nothing else, so
  // that no sum ever is NaN.
  int64_t nonfinite_count = 0;

  double signal_energy = 0;  // sum of x^2
  double noise_energy = 0;   // sum of (x - decoded)^2
  double max_error = 0;      // largest |x - decoded|

  void Merge(const Distortion& other);

  // Signal to quantization noise, 10 log10(signal / noise). +infinity where there is no noise, also
  // without a signal; -infinity where noise is all there is. Never NaN.
  double SqnrDb() const;
};

// `original` are fp16 patterns; `decoded`, of the same length, fp16 patterns or fp32 values.
Distortion MeasureDistortion(std::span<const uint16_t> original, std::span<const uint16_t> decoded);
Distortion MeasureDistortion(std::span<const uint16_t> original, std::span<const float> decoded);

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_DISTORTION_H_
