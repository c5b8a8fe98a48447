#include "tests/unit/kernels/weight_samples.h"

#include "kernels/codec_reference.h"

#include <algorithm>
#include <random>

namespace tightfit {
namespace {

// Nearly normal: std::normal_distribution differs between libraries.
double Normal(std::mt19937& random) {
  double sum = 0.0;
  for (int i = 0; i < 12; ++i) sum += static_cast<double>(random()) * 0x1p-32;
  return sum - 6.0;
}

// What GGUF's Q8_0 and quanto's qint8 hold: some integer of each scale is 127 or -127.
std::vector<uint16_t> Integers(int64_t rows, int64_t columns, std::mt19937& random) {
  constexpr int64_t kBlock = 32;
  std::vector<uint16_t> weights;
  for (int64_t row = 0; row < rows; ++row) {
    double scale = 0.0;
    for (int64_t column = 0; column < columns; ++column) {
      const bool has_blocks = row % 2 == 1;
      const bool is_first = column == 0 || (has_blocks && column % kBlock == 0);
      if (is_first) {
        const double any = (1.0 + static_cast<double>(random()) * 0x1p-32) * 1e-3;
        scale = reference::ValueOfFp16(reference::Fp16OfValue(any));
      }
      const int integer = is_first ? 127 : static_cast<int>(random() % 255) - 127;
      const int sign = random() % 2 == 0 ? 1 : -1;
      weights.push_back(reference::Fp16OfValue(sign * integer * scale));
    }
  }
  return weights;
}

}  // namespace

const char* SampleName(WeightSample sample) {
  constexpr std::array<const char*, kWeightSamples.size()> kNames = {
      "trained", "outliers",       "tiny",     "zero rows",
      "large",   "any below half", "integers", "not finite"};
  return kNames[static_cast<size_t>(sample)];
}

std::vector<uint16_t> SampleWeights(WeightSample sample, int64_t rows, int64_t columns,
                                    uint32_t seed) {
  std::mt19937 random(seed);
  if (sample == WeightSample::kIntegers) return Integers(rows, columns, random);
  std::vector<uint16_t> weights(rows * columns);
  for (int64_t i = 0; i < rows * columns; ++i) {
    const int64_t row = i / columns;
    double value =
        std::clamp(Normal(random) * 0.02 * static_cast<double>(1 + row % 5), -0.49, 0.49);
    switch (sample) {
      case WeightSample::kOutliers:
        if (random() % 1500 == 0) value = 0.7 + value / 8;
        break;
      case WeightSample::kTiny:
        value *= 1e-5;
        break;
      case WeightSample::kZeroRows:
        if (row % 2 == 0) value = i % 3 == 0 ? -0.0 : 0.0;
        break;
      case WeightSample::kLarge:
        value *= 400.0;
        break;
      default:
        break;
    }
    weights[i] = sample == WeightSample::kAnyBelowHalf ? static_cast<uint16_t>(random() & 0xB7FF)
                                                       : reference::Fp16OfValue(value);
  }
  if (sample == WeightSample::kNotFinite && weights.size() > 1) {
    weights.front() = 0xFC00;
    weights.back() = 0x7C01;
  }
  return weights;
}

void FillWithRandomBytes(std::span<uint8_t> bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random() >> 56);
}

}  // namespace tightfit
