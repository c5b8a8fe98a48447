// Tensors of weights of several kinds, the same on every machine.
#ifndef TIGHTFIT_TESTS_UNIT_KERNELS_WEIGHT_SAMPLES_H_
#define TIGHTFIT_TESTS_UNIT_KERNELS_WEIGHT_SAMPLES_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace tightfit {

enum class WeightSample {
  kTrained,       // normal, rows of different deviation, below 0.5
  kOutliers,      // the same, with one weight in 1500 at about 0.7
  kTiny,          // down to fp16's subnormals
  kZeroRows,      // every other row of zeros, both signs of zero
  kLarge,         // around 20
  kAnyBelowHalf,  // any pattern below 0.5, exponents alike
  kIntegers,      // integers up to 127 times an fp16 number for each row, or for each 32 weights
  kNotFinite,     // a NaN and an infinity among them
};
inline constexpr std::array<WeightSample, 8> kWeightSamples = {
    WeightSample::kTrained,  WeightSample::kOutliers, WeightSample::kTiny,
    WeightSample::kZeroRows, WeightSample::kLarge,    WeightSample::kAnyBelowHalf,
    WeightSample::kIntegers, WeightSample::kNotFinite};

const char* SampleName(WeightSample sample);

// rows * columns fp16 patterns.
std::vector<uint16_t> SampleWeights(WeightSample sample, int64_t rows, int64_t columns,
                                    uint32_t seed);

void FillWithRandomBytes(std::span<uint8_t> bytes, uint64_t seed);

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_KERNELS_WEIGHT_SAMPLES_H_
