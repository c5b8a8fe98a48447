// The reference's normal floats: levels by their formula, digits, scales and radix words.
#include "kernels/codec_reference.h"
#include "kernels/normal_float_levels.h"
#include "tests/unit/kernels/hard_weights.h"
#include "tests/unit/kernels/reference_probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace tightfit::reference {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<WeightFormat> NormalFloats() {
  std::vector<WeightFormat> formats;
  for (const FormatInfo& info : kFormats) {
    if (info.family == FormatFamily::kNormalFloat) formats.push_back(info.format);
  }
  return formats;
}

// By bisection on erf, which grows; |p| <= 0.96 lies within.
long double InverseErf(long double p) {
  long double low = -4;
  long double high = 4;
  for (int i = 0; i < 200; ++i) {
    const long double middle = (low + high) / 2;
    (std::erf(middle) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

std::vector<double> LevelsByFormula(int n) {
  std::vector<long double> quantiles;
  for (int i = 0; i <= n; ++i) quantiles.push_back(InverseErf(0.96L * (-1.0L + 2.0L * i / n)));
  std::vector<double> levels;
  const long double largest = (quantiles[n - 1] + quantiles[n]) / 2;
  for (int i = 0; i < n; ++i) {
    levels.push_back(static_cast<double>((quantiles[i] + quantiles[i + 1]) / 2 / largest));
  }
  return levels;
}

TEST(NormalLevelsTest, AreThoseOfTheFormulaInTheNearestFp32) {
  for (const WeightFormat format : NormalFloats()) {
    const int count = InfoOf(format).level_count;
    const std::span<const float> levels = NormalLevels(count);
    ASSERT_EQ(levels.size(), static_cast<size_t>(count));
    const std::vector<double> wanted = LevelsByFormula(count);
    for (int i = 0; i < count; ++i) {
      const float magnitude = std::abs(levels[i]);
      const double last_place = std::nextafter(magnitude, kInfinity) - magnitude;
      EXPECT_NEAR(levels[i], wanted[i], last_place / 2 + 1e-9) << count << " levels: " << i;
    }
  }
}

TEST(NormalLevelsTest, AscendAndMirrorEachOther) {
  for (const WeightFormat format : NormalFloats()) {
    const std::span<const float> levels = NormalLevels(InfoOf(format).level_count);
    EXPECT_EQ(levels.front(), -1.0f);
    for (size_t i = 0; i < levels.size(); ++i) {
      EXPECT_EQ(levels[i], -levels[levels.size() - 1 - i]);
      if (i != 0) {
        EXPECT_LT(levels[i - 1], levels[i]);
      }
    }
  }
}

struct Packed {
  PackedLayout layout;
  std::vector<uint8_t> bytes;

  uint32_t Digit(int64_t i) const { return CodeAt(layout, bytes, 0, i); }
  uint8_t BlockCode(int64_t block) const { return bytes[layout.block_scale_offset_bytes + block]; }
  float Largest(int64_t superblock) const {
    return std::bit_cast<float>(static_cast<uint32_t>(
        BitsAt(bytes, BitRange{(layout.scale_offset_bytes + 4 * superblock) * 8, 32})));
  }
};

Packed PackRow(WeightFormat format, const std::vector<uint16_t>& fp16) {
  const PackedLayout layout = LayoutOf(format, 1, static_cast<int64_t>(fp16.size()));
  return {layout, EncodeTensor(layout, fp16)};
}

TEST(CodecReferenceNormalFloatTest, ScalesSuperblocksByFp32AndBlocksByABytesShare) {
  // The largest magnitude 510 of superblock 0 makes u = 2. Superblock 1 is one short block.
  std::vector<uint16_t> fp16(16384 + 10);
  fp16[63] = Fp16OfValue(-510.0);
  fp16[64] = Fp16OfValue(1.0);            // a / u = 0.5: at least 1 all the same
  fp16[128] = Fp16OfValue(5.0);           // 2.5: a tie, to even
  fp16[192] = Fp16OfValue(7.0);           // 3.5: a tie, to even
  fp16[256] = Fp16OfValue(0.0001220703);  // far below, but not 0
  fp16[384] = Fp16OfValue(508.0);
  fp16[16384] = Fp16OfValue(3.0);
  for (const WeightFormat format : NormalFloats()) {
    const Packed packed = PackRow(format, fp16);
    EXPECT_EQ(packed.Largest(0), 510.0f);
    EXPECT_EQ(packed.Largest(1), 3.0f);
    EXPECT_EQ(packed.BlockCode(0), 255);
    EXPECT_EQ(packed.BlockCode(1), 1);
    EXPECT_EQ(packed.BlockCode(2), 2);
    EXPECT_EQ(packed.BlockCode(3), 4);
    EXPECT_EQ(packed.BlockCode(4), 1);
    EXPECT_EQ(packed.BlockCode(5), 0);
    EXPECT_EQ(packed.BlockCode(6), 254);
    EXPECT_EQ(packed.BlockCode(256), 255);
  }
}

TEST(CodecReferenceNormalFloatTest, DecodesEveryDigitToLevelTimesScale) {
  for (const WeightFormat format : NormalFloats()) {
    const std::vector<uint16_t> fp16 = GaussianWeights(16384 * 2 + 333, 0.02, 21);
    const Packed packed = PackRow(format, fp16);
    const std::vector<uint16_t> decoded = DecodeTensor(packed.layout, packed.bytes);
    const std::span<const float> levels = NormalLevels(InfoOf(format).level_count);
    for (size_t i = 0; i < fp16.size(); ++i) {
      const float unit = packed.Largest(i / 16384) / 255.0f;
      const float scale = unit * static_cast<float>(packed.BlockCode(i / 64));
      const float value = levels[packed.Digit(i)] * scale;
      ASSERT_EQ(decoded[i], Fp16OfValue(value)) << i;
    }
  }
}

TEST(CodecReferenceNormalFloatTest, PicksTheNearestLevel) {
  for (const WeightFormat format : NormalFloats()) {
    const std::vector<uint16_t> fp16 = GaussianWeights(5000, 0.02, 23);
    const Packed packed = PackRow(format, fp16);
    const std::span<const float> levels = NormalLevels(InfoOf(format).level_count);
    for (size_t i = 0; i < fp16.size(); ++i) {
      const double scale = packed.Largest(0) / 255.0 * packed.BlockCode(i / 64);
      const double y = ValueOfFp16(fp16[i]) / scale;
      double least = 2;
      for (const float level : levels) least = std::min(least, std::abs(level - y));
      // The roundings of y and of the threshold.
      ASSERT_LE(std::abs(levels[packed.Digit(i)] - y), least + 1e-6) << i;
    }
  }
}

TEST(CodecReferenceNormalFloatTest, RoundsEachStepBesideAThreshold) {
  for (const WeightAtThreshold& hard : kWeightsAtThresholds) {
    std::vector<uint16_t> fp16(128);
    fp16[0] = hard.superblock_largest;
    fp16[64] = Fp16OfValue(ValueOfFp16(hard.superblock_largest) * hard.scale_code / 255);
    fp16[65] = hard.weight;
    const Packed packed = PackRow(hard.format, fp16);
    ASSERT_EQ(packed.BlockCode(1), hard.scale_code);
    EXPECT_EQ(packed.Digit(65), hard.digit) << InfoOf(hard.format).name;
  }
}

// A block whose largest weight is 1.
TEST(CodecReferenceNormalFloatTest, GivesAZeroTheLevelBelowOrTheZeroLevel) {
  for (const WeightFormat format : NormalFloats()) {
    const int count = InfoOf(format).level_count;
    const Packed packed = PackRow(format, {0x3C00, 0x0000, 0x8000, 0xBC00});
    EXPECT_EQ(packed.Digit(0), count - 1u);
    EXPECT_EQ(packed.Digit(1), count % 2 == 0 ? count / 2 - 1u : count / 2u) << count;
    EXPECT_EQ(packed.Digit(2), packed.Digit(1));
    EXPECT_EQ(packed.Digit(3), 0u);
  }
}

TEST(CodecReferenceNormalFloatTest, DecodesBlocksOfZerosToZeros) {
  for (const WeightFormat format : NormalFloats()) {
    const Packed packed = PackRow(format, std::vector<uint16_t>(100, 0x8000));
    EXPECT_EQ(packed.Largest(0), 0.0f);
    EXPECT_EQ(packed.BlockCode(0), 0);
    for (const uint16_t decoded : DecodeTensor(packed.layout, packed.bytes)) {
      // The level below zero of an even count times +0 is -0.
      EXPECT_EQ(decoded, InfoOf(format).level_count % 2 == 0 ? 0x8000 : 0x0000);
    }
  }
}

TEST(CodecReferenceNormalFloatTest, KeepsTheSmallestAndTheLargestWeightFinite) {
  for (const WeightFormat format : NormalFloats()) {
    for (const std::vector<uint16_t>& fp16 :
         {std::vector<uint16_t>{0x7BFF, 0xFBFF}, std::vector<uint16_t>{0x0001, 0x8001}}) {
      const Packed packed = PackRow(format, fp16);
      EXPECT_EQ(DecodeTensor(packed.layout, packed.bytes), fp16);
    }
  }
}

// Weights whose digits are these: the levels of a block with the largest magnitude 1.
std::vector<uint16_t> WeightsOfDigits(WeightFormat format, const std::vector<int>& digits) {
  std::vector<uint16_t> fp16;
  for (const int digit : digits) {
    fp16.push_back(Fp16OfValue(NormalLevels(InfoOf(format).level_count)[digit]));
  }
  return fp16;
}

std::vector<uint8_t> FirstBytes(const Packed& packed, size_t count) {
  return {packed.bytes.begin(), packed.bytes.begin() + static_cast<int64_t>(count)};
}

TEST(CodecReferenceRadixWordTest, HoldsSixDigitsOf24In28Bits) {
  // 23 + 1 * 24^2 + 2 * 24^3 + 12 * 24^4 + 5 * 24^5 = 0x29CAE57, and from bit 28 on
  // 11 + 12 * 24 + 23 * 24^5 = 0xAEA812B.
  const Packed packed =
      PackRow(WeightFormat::kNf458,
              WeightsOfDigits(WeightFormat::kNf458, {23, 0, 1, 2, 12, 5, 11, 12, 0, 0, 0, 23}));
  EXPECT_EQ(FirstBytes(packed, 8),
            (std::vector<uint8_t>{0x57, 0xAE, 0x9C, 0xB2, 0x12, 0xA8, 0xAE, 0x00}));
}

TEST(CodecReferenceRadixWordTest, HoldsFiveDigitsOf12In18Bits) {
  // 11 + 1 * 12^2 + 6 * 12^3 + 5 * 12^4 = 0x1BE1B, and from bit 18 on
  // 5 + 6 * 12 + 11 * 12^4 = 0x37B4D.
  const Packed packed =
      PackRow(WeightFormat::kNf358,
              WeightsOfDigits(WeightFormat::kNf358, {11, 0, 1, 6, 5, 5, 6, 0, 0, 11}));
  EXPECT_EQ(FirstBytes(packed, 8),
            (std::vector<uint8_t>{0x1B, 0xBE, 0x35, 0xED, 0x0D, 0x00, 0x00, 0x00}));
}

TEST(CodecReferenceRadixWordTest, HoldsElevenDigitsOf7In31Bits) {
  // 6 + 7^2 + 3 * 7^3 + 2 * 7^4 + 4 * 7^5 + 5 * 7^6 + 3 * (7^7 + 7^8 + 7^9) + 6 * 7^10 =
  // 0x6D744E12, and from bit 31 on 3 + 3 * 7 + 6 * 7^2 + 7^10 = 0x10D63C2F.
  const Packed packed =
      PackRow(WeightFormat::kNf281,
              WeightsOfDigits(WeightFormat::kNf281, {6, 0, 1, 3, 2, 4, 5, 3, 3, 3, 6,  //
                                                     3, 3, 6, 0, 0, 0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(FirstBytes(packed, 8),
            (std::vector<uint8_t>{0x12, 0x4E, 0x74, 0xED, 0x17, 0x1E, 0x6B, 0x08}));
}

TEST(CodecReferenceRadixWordTest, FillsTheLastWordWithDigitsZero) {
  // 7 weights are two words, of which the second holds the digit 23 and five zeros.
  const Packed packed =
      PackRow(WeightFormat::kNf458, WeightsOfDigits(WeightFormat::kNf458, {0, 0, 0, 0, 0, 0, 23}));
  EXPECT_EQ(packed.layout.low_row_bytes, 16);
  std::vector<uint8_t> wanted(16);
  wanted[3] = 0x70;  // 23 = 0x17, from bit 28 on
  wanted[4] = 0x01;
  EXPECT_EQ(FirstBytes(packed, 16), wanted);
}

TEST(CodecReferenceRadixWordTest, KeepsSpareWordsWithinTheLevels) {
  // Words of all ones stand for no digits, but whatever a file holds is read as some level.
  for (const WeightFormat format : NormalFloats()) {
    Packed packed = PackRow(format, std::vector<uint16_t>(100, 0x3C00));
    std::fill_n(packed.bytes.begin(), packed.layout.scale_offset_bytes, 0xFF);
    for (const uint16_t decoded : DecodeTensor(packed.layout, packed.bytes)) {
      EXPECT_LE(std::abs(ValueOfFp16(decoded)), 1.0);
    }
  }
}

TEST(CodecReferenceNormalFloatTest, ReachesTheKnownSignalToNoiseOfGaussianWeights) {
  const std::vector<uint16_t> fp16 = GaussianWeights(100'000, 0.02, 2);
  const auto decibels = [&](WeightFormat format) {
    const Packed packed = PackRow(format, fp16);
    return Decibels(fp16, DecodeTensor(packed.layout, packed.bytes));
  };
  EXPECT_NEAR(decibels(WeightFormat::kNf5), 27.0, 0.5);
  EXPECT_NEAR(decibels(WeightFormat::kNf458), 24.5, 0.5);
  EXPECT_NEAR(decibels(WeightFormat::kNf4), 20.9, 0.5);
  EXPECT_NEAR(decibels(WeightFormat::kNf358), 18.2, 0.5);
  EXPECT_NEAR(decibels(WeightFormat::kNf281), 13.0, 0.5);
}

}  // namespace
}  // namespace tightfit::reference
