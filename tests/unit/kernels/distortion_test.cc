#include "kernels/distortion.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace tightfit {
namespace {

using Fp16s = std::vector<uint16_t>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// fp16 patterns that the tests speak of.
constexpr uint16_t kZero = 0x0000;
constexpr uint16_t kMinusZero = 0x8000;
constexpr uint16_t kOne = 0x3C00;
constexpr uint16_t kMinusOne = 0xBC00;
constexpr uint16_t kThree = 0x4200;
constexpr uint16_t kThreeAndAHalf = 0x4300;
constexpr uint16_t kFour = 0x4400;
constexpr uint16_t kSmallest = 0x0001;  // 2^-24
constexpr uint16_t kLargest = 0x7BFF;   // 65504
constexpr uint16_t kInfinite = 0x7C00;
constexpr uint16_t kNan = 0x7E00;

Distortion Of(const Fp16s& original, const Fp16s& decoded) {
  return MeasureDistortion(std::span<const uint16_t>(original), std::span<const uint16_t>(decoded));
}

void ExpectEqual(const Distortion& a, const Distortion& b) {
  EXPECT_EQ(a.weight_count, b.weight_count);
  EXPECT_EQ(a.exact_count, b.exact_count);
  EXPECT_EQ(a.became_zero_count, b.became_zero_count);
  EXPECT_EQ(a.became_nonzero_count, b.became_nonzero_count);
  EXPECT_EQ(a.sign_flip_count, b.sign_flip_count);
  EXPECT_EQ(a.nonfinite_count, b.nonfinite_count);
  // Sums of doubles in another order.
  EXPECT_NEAR(a.signal_energy, b.signal_energy, 1e-12 * b.signal_energy);
  EXPECT_NEAR(a.noise_energy, b.noise_energy, 1e-12 * b.noise_energy);
  EXPECT_EQ(a.max_error, b.max_error);
}

TEST(DistortionTest, OfNothingIsNothing) {
  const Distortion distortion = Of({}, {});
  EXPECT_EQ(distortion.weight_count, 0);
  EXPECT_EQ(distortion.SqnrDb(), kInfinity);
}

TEST(DistortionTest, OfTheSameWeightsHasNoNoise) {
  const Fp16s weights = {kOne, kMinusOne, kSmallest, kLargest, kZero, kMinusZero};
  const Distortion distortion = Of(weights, weights);
  EXPECT_EQ(distortion.weight_count, 6);
  EXPECT_EQ(distortion.exact_count, 6);
  EXPECT_EQ(distortion.noise_energy, 0);
  EXPECT_EQ(distortion.max_error, 0);
  EXPECT_EQ(distortion.signal_energy, 2 + 0x1p-48 + 65504.0 * 65504.0);
  EXPECT_EQ(distortion.SqnrDb(), kInfinity);
}

TEST(DistortionTest, OfZerosHasNeitherSignalNorNan) {
  const Fp16s zeros(17, kZero);
  EXPECT_EQ(Of(zeros, zeros).SqnrDb(), kInfinity);
  EXPECT_EQ(Of(zeros, zeros).exact_count, 17);
  const Distortion lifted = Of(zeros, Fp16s(17, kOne));
  EXPECT_EQ(lifted.SqnrDb(), -kInfinity);
  EXPECT_EQ(lifted.became_nonzero_count, 17);
  EXPECT_EQ(lifted.exact_count, 0);
}

TEST(DistortionTest, TakesBothZerosForOneValue) {
  const Distortion distortion = Of({kZero, kMinusZero}, {kMinusZero, kZero});
  EXPECT_EQ(distortion.exact_count, 2);
  EXPECT_EQ(distortion.sign_flip_count, 0);
}

TEST(DistortionTest, CountsASignFlipOnceAndAsNoiseOfTwiceTheWeight) {
  const Distortion distortion = Of({kOne, kThree}, {kMinusOne, kThree});
  EXPECT_EQ(distortion.sign_flip_count, 1);
  EXPECT_EQ(distortion.became_zero_count, 0);
  EXPECT_EQ(distortion.exact_count, 1);
  EXPECT_EQ(distortion.noise_energy, 4);
  EXPECT_EQ(distortion.max_error, 2);
}

TEST(DistortionTest, CountsWeightsThatBecameZero) {
  const Distortion distortion = Of({kSmallest, kMinusOne, kZero}, {kZero, kMinusZero, kZero});
  EXPECT_EQ(distortion.became_zero_count, 2);
  EXPECT_EQ(distortion.sign_flip_count, 0);
  EXPECT_EQ(distortion.exact_count, 1);
  EXPECT_EQ(distortion.max_error, 1);
}

// Signal 9 + 16 = 25, noise 0 + 0.25: a ratio of 100, which is 20 dB.
TEST(DistortionTest, GivesTwentyDecibelsForAHundredthOfThePower) {
  const Distortion distortion = Of({kThree, kFour}, {kThree, kThreeAndAHalf});
  EXPECT_EQ(distortion.signal_energy, 25);
  EXPECT_EQ(distortion.noise_energy, 0.25);
  EXPECT_EQ(distortion.max_error, 0.5);
  EXPECT_DOUBLE_EQ(distortion.SqnrDb(), 20);
}

// W. R. Bennett, "Spectra of Quantized Signals", Bell System Technical Journal 27 (1948): a uniform
// quantizer that a signal fills evenly has noise of step^2 / 12, which is 6.02 dB for each bit.
TEST(DistortionTest, GivesBennettsSixDecibelsForEachBit) {
  // The odd multiples of 2^-11 between -1 and 1, cut into 2^bits cells; each decodes to the middle
  // of its cell.
  for (const int bits : {2, 3, 4, 5}) {
    Fp16s original;
    std::vector<float> decoded;
    const int cells = 1 << bits;
    for (int i = 0; i < 1024; ++i) {
      const int odd = 2 * i + 1;
      const int cell = odd * (cells / 2) / 2048;  // half of the cells for each sign
      const double middle = (cell + 0.5) * 2 / cells;
      // odd = 2^exponent + rest: at most 11 bits, which fp16 holds.
      int exponent = 0;
      while (odd >> (exponent + 1) != 0) ++exponent;
      const int mantissa = ((odd << 10) >> exponent) & 0x3FF;
      const auto pattern = static_cast<uint16_t>(((exponent - 11 + 15) << 10) | mantissa);
      original.push_back(pattern);
      decoded.push_back(static_cast<float>(middle));
      original.push_back(pattern | 0x8000);
      decoded.push_back(static_cast<float>(-middle));
    }
    const Distortion distortion =
        MeasureDistortion(std::span<const uint16_t>(original), std::span<const float>(decoded));
    EXPECT_NEAR(distortion.SqnrDb(), 6.0206 * bits, 0.01) << bits << " bits";
    EXPECT_NEAR(distortion.max_error, 1.0 / cells - 1.0 / 2048, 1e-12);
  }
}

TEST(DistortionTest, KeepsNonfiniteWeightsOutOfEverySum) {
  const Distortion distortion = Of({kNan, kInfinite, kOne, kOne}, {kNan, kOne, kNan, kOne});
  EXPECT_EQ(distortion.weight_count, 4);
  EXPECT_EQ(distortion.nonfinite_count, 3);
  EXPECT_EQ(distortion.exact_count, 1);
  EXPECT_EQ(distortion.signal_energy, 1);
  EXPECT_EQ(distortion.SqnrDb(), kInfinity);
}

// The reference converts by the definition of binary16.
TEST(DistortionTest, ReadsEveryFp16Pattern) {
  for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const int field = (pattern >> 10) & 31;
    const int mantissa = pattern & 0x3FF;
    const Distortion distortion = Of({static_cast<uint16_t>(pattern)}, {kZero});
    if (field == 31) {
      ASSERT_EQ(distortion.nonfinite_count, 1) << pattern;
      continue;
    }
    const double magnitude =
        field == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, field - 25);
    ASSERT_EQ(distortion.max_error, magnitude) << pattern;
    ASSERT_EQ(distortion.signal_energy, magnitude * magnitude) << pattern;
  }
}

TEST(DistortionTest, OfPartsMergesToThatOfTheWhole) {
  std::mt19937 random(20240601);
  std::uniform_int_distribution<uint32_t> pattern(0, 0xFFFF);
  Fp16s original(5000);
  Fp16s decoded(5000);
  for (size_t i = 0; i < original.size(); ++i) {
    original[i] = static_cast<uint16_t>(pattern(random));
    decoded[i] = i % 3 == 0 ? original[i] : static_cast<uint16_t>(pattern(random));
  }
  const Distortion whole = Of(original, decoded);
  EXPECT_GT(whole.sign_flip_count, 0);
  EXPECT_GT(whole.nonfinite_count, 0);
  for (const size_t part : {1u, 7u, 2500u, 4999u}) {
    Distortion merged;
    for (size_t at = 0; at < original.size(); at += part) {
      const size_t count = std::min(part, original.size() - at);
      merged.Merge(MeasureDistortion(std::span<const uint16_t>(original).subspan(at, count),
                                     std::span<const uint16_t>(decoded).subspan(at, count)));
    }
    ExpectEqual(merged, whole);
  }
}

TEST(DistortionTest, OfFp32EqualsThatOfFp16) {
  const Fp16s original = {kOne, kThree, kSmallest, kMinusOne};
  const std::vector<float> decoded = {1.0f, 3.5f, 0.0f, 1.0f};
  ExpectEqual(
      MeasureDistortion(std::span<const uint16_t>(original), std::span<const float>(decoded)),
      Of(original, {kOne, kThreeAndAHalf, kZero, kOne}));
}

}  // namespace
}  // namespace tightfit
