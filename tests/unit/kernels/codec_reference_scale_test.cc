// The reference's choice of exponent bias and scales, against searches written down anew.
#include "kernels/codec_reference.h"
#include "tests/unit/kernels/hard_weights.h"
#include "tests/unit/kernels/reference_probe.h"
#include "tests/unit/kernels/weight_samples.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

namespace tightfit::reference {
namespace {

std::vector<WeightFormat> FormatsWith(Scaling scaling, FormatFamily family) {
  std::vector<WeightFormat> formats;
  for (const FormatInfo& info : kFormats) {
    if (info.scaling == scaling && info.family == family) formats.push_back(info.format);
  }
  return formats;
}
std::vector<WeightFormat> TensorFloats() {
  return FormatsWith(Scaling::kTensor, FormatFamily::kFloat);
}
std::vector<WeightFormat> RowFloats() { return FormatsWith(Scaling::kRow, FormatFamily::kFloat); }

std::vector<double> Values(const std::vector<uint16_t>& fp16) {
  std::vector<double> values;
  for (const uint16_t x : fp16) values.push_back(ValueOfFp16(x));
  return values;
}

EncodingPlan PlanRow(WeightFormat format, const std::vector<uint16_t>& fp16) {
  return PlanEncoding(format, 1, static_cast<int64_t>(fp16.size()), fp16);
}

// The numbers that a float with this exponent bias has, by its textbook definition: no raw, no S.
std::vector<double> NumbersAtBias(const FormatInfo& info, int bias) {
  std::vector<double> numbers;
  const int fractions = 1 << info.mantissa_bits;
  for (int exponent = 0; exponent < 1 << info.exponent_bits; ++exponent) {
    for (int f = 0; f < fractions; ++f) {
      const double fraction = static_cast<double>(f) / fractions;
      numbers.push_back(exponent == 0 ? std::ldexp(fraction, 1 - bias)
                                      : std::ldexp(1.0 + fraction, exponent - bias));
    }
  }
  return numbers;
}

struct Choice {
  int bias;
  int64_t side_count;
};

// Every bias, every weight, every number. Sums of squares of weights of one size keep far more bits
// in a long double than biases differ by; but see the tests of ties.
std::optional<Choice> SearchBias(const FormatInfo& info, const std::vector<double>& weights) {
  std::optional<Choice> best;
  long double best_error = 0;
  for (int bias = 0; bias <= 25 - info.mantissa_bits; ++bias) {
    const std::vector<double> numbers = NumbersAtBias(info, bias);
    Choice choice{.bias = bias, .side_count = 0};
    long double error = 0;
    for (const double weight : weights) {
      if (std::abs(weight) > numbers.back()) {
        ++choice.side_count;
        continue;
      }
      double least = std::abs(weight);
      for (const double number : numbers) {
        least = std::min(least, std::abs(std::abs(weight) - number));
      }
      error += static_cast<long double>(least) * least;
    }
    if (choice.side_count > static_cast<int64_t>(weights.size()) / 1000) continue;
    if (!best || error < best_error ||
        (error == best_error && choice.side_count <= best->side_count)) {
      best = choice;
      best_error = error;
    }
  }
  return best;
}

void ExpectBiasOfSearch(WeightFormat format, const std::vector<uint16_t>& fp16) {
  const FormatInfo& info = InfoOf(format);
  const std::optional<Choice> wanted = SearchBias(info, Values(fp16));
  const EncodingPlan plan = PlanRow(format, fp16);
  ASSERT_EQ(plan.representability.ok(), wanted.has_value()) << info.name;
  if (!wanted) return;
  EXPECT_EQ(plan.layout.exponent_bias, wanted->bias) << info.name;
  EXPECT_EQ(plan.layout.side_count, wanted->side_count) << info.name;
}

TEST(CodecReferenceBiasTest, IsTheOneOfASearchOverAllNumbers) {
  for (const WeightFormat format : TensorFloats()) {
    for (const double deviation : {1e-6, 1e-3, 0.02, 0.5, 30.0}) {
      ExpectBiasOfSearch(format, GaussianWeights(1000, deviation, 7));
    }
  }
}

// A bias more gives up the top binade and adds one at the bottom; in between, the numbers are the
// same. So errors never grow with the bias, and what bounds it is the side list.
TEST(CodecReferenceBiasTest, IsTheLargestThatTheSideListAllowsForWeightsWithTails) {
  for (const WeightFormat format : TensorFloats()) {
    for (const uint64_t seed : {1, 2, 3, 4}) {
      std::vector<uint16_t> fp16;
      for (const uint16_t x : GaussianWeights(3000, 1.0, seed)) {
        fp16.push_back(Fp16OfValue(0.01 * std::pow(ValueOfFp16(x), 3)));
      }
      ExpectBiasOfSearch(format, fp16);
      std::vector<double> magnitudes;
      for (const double weight : Values(fp16)) magnitudes.push_back(std::abs(weight));
      std::sort(magnitudes.begin(), magnitudes.end());
      // All but three.
      int bias = 25 - InfoOf(format).mantissa_bits;
      while (NumbersAtBias(InfoOf(format), bias).back() < magnitudes[2996]) --bias;
      EXPECT_EQ(PlanRow(format, fp16).layout.exponent_bias, bias) << InfoOf(format).name;
    }
  }
}

TEST(CodecReferenceBiasTest, LeavesFewOutliersToTheSideListAndFitsTheRest) {
  for (const WeightFormat format : TensorFloats()) {
    std::vector<uint16_t> fp16 = GaussianWeights(3000, 0.01, 11);
    fp16[17] = Fp16OfValue(3.0);
    fp16[1700] = Fp16OfValue(-14.0);
    fp16[2999] = Fp16OfValue(7.0);
    ExpectBiasOfSearch(format, fp16);
    fp16[1] = Fp16OfValue(-5.0);  // four of 3000 are more than 0.1 %
    ExpectBiasOfSearch(format, fp16);
  }
  std::vector<uint16_t> fp16 = GaussianWeights(3000, 0.01, 11);
  fp16[1700] = Fp16OfValue(-14.0);
  EXPECT_EQ(PlanRow(WeightFormat::kE2m5, fp16).layout.side_count, 1);
}

TEST(CodecReferenceBiasTest, IsTheLargestOneForZeros) {
  for (const WeightFormat format : TensorFloats()) {
    const EncodingPlan plan = PlanRow(format, std::vector<uint16_t>{0x0000, 0x8000, 0x0000});
    EXPECT_TRUE(plan.representability.ok());
    EXPECT_EQ(plan.layout.exponent_bias, 25 - InfoOf(format).mantissa_bits);
    EXPECT_EQ(plan.layout.side_count, 0);
  }
}

TEST(CodecReferenceBiasTest, IsTheLargestOfThoseThatHoldEveryWeight) {
  // 1 and 2^-4 of e2m5: the largest number at bias b is 1.97 * 2^(3 - b), so 3 is the last to hold
  // 1, and 2^-4 is 2^(1 - 3) * 8/32 there.
  const std::vector<uint16_t> fp16 = ExactPatterns(std::vector<double>{1.0, -0.0625});
  EXPECT_EQ(PlanRow(WeightFormat::kE2m5, fp16).layout.exponent_bias, 3);
}

TEST(CodecReferenceBiasTest, PrefersTheShorterListWhereErrorsAreEqual) {
  // Of 1000 weights one may go to the side list, and the others are zeros: no bias has an error.
  std::vector<uint16_t> fp16(1000);
  fp16[500] = Fp16OfValue(1.0);
  const EncodingPlan plan = PlanRow(WeightFormat::kE2m5, fp16);
  EXPECT_EQ(plan.layout.side_count, 0);
  EXPECT_EQ(plan.layout.exponent_bias, 3);  // the last that holds 1
}

TEST(CodecReferenceBiasTest, RefusesATensorThatNoBiasHolds) {
  // 15.75 is the largest of e2m5 at bias 0.
  std::vector<uint16_t> fp16 = GaussianWeights(2000, 0.02, 3);
  fp16[0] = Fp16OfValue(15.75);
  fp16[1] = Fp16OfValue(15.7578125);
  fp16[2] = Fp16OfValue(-16.0);
  EXPECT_TRUE(PlanRow(WeightFormat::kE2m5, fp16).representability.ok());
  fp16[3] = Fp16OfValue(100.0);
  const EncodingPlan plan = PlanRow(WeightFormat::kE2m5, fp16);
  EXPECT_EQ(plan.representability.out_of_range_count, 3);
  EXPECT_EQ(plan.layout.exponent_bias, 0);
  EXPECT_EQ(plan.layout.side_count, 0);
  EXPECT_EQ(plan.layout.total_bytes, 2000);
}

TEST(CodecReferenceBiasTest, DoesNotCallAListedWeightOutOfRangeBesideANan) {
  std::vector<uint16_t> fp16 = GaussianWeights(1000, 0.02, 3);
  fp16[0] = Fp16OfValue(16.0);
  fp16[1] = 0x7E00;
  const EncodingPlan plan = PlanRow(WeightFormat::kE2m5, fp16);
  EXPECT_EQ(plan.representability.nan_count, 1);
  EXPECT_EQ(plan.representability.out_of_range_count, 0);
  EXPECT_EQ(plan.layout.exponent_bias, 0);
  EXPECT_EQ(plan.layout.side_count, 0);
}

TEST(CodecReferencePlanTest, CountsNanAndInfinitiesInEveryFormat) {
  for (const FormatInfo& info : kFormats) {
    const std::vector<uint16_t> fp16 = {0x7E00, 0x2000, 0xFC00, 0x7C00, 0xFC01, 0x7FFF};
    const Representability found = PlanEncoding(info.format, 2, 3, fp16).representability;
    EXPECT_EQ(found.nan_count, 3) << info.name;
    EXPECT_EQ(found.infinity_count, 2) << info.name;
    EXPECT_EQ(found.out_of_range_count, 0) << info.name;
    EXPECT_FALSE(found.ok()) << info.name;
  }
}

TEST(CodecReferencePlanTest, CountsWhatIsBeyondTheLargestWeight) {
  for (const FormatInfo& info : kFormats) {
    if (info.scaling == Scaling::kTensor) continue;
    std::vector<uint16_t> fp16;
    int64_t beyond = 0;
    for (uint32_t pattern = 0; pattern < 65536; ++pattern) {
      if ((pattern & 0x7C00) == 0x7C00) continue;
      fp16.push_back(static_cast<uint16_t>(pattern));
      if (std::abs(ValueOfFp16(fp16.back())) > info.max_value) ++beyond;
    }
    if (info.format == WeightFormat::kFp8E4m3) beyond = 0;  // saturates
    const auto count = static_cast<int64_t>(fp16.size());
    EXPECT_EQ(PlanEncoding(info.format, 1, count, fp16).representability.out_of_range_count, beyond)
        << info.name;
  }
}

TEST(CodecReferencePlanTest, TakesATensorWithoutWeights) {
  const std::vector<uint16_t> nothing;
  for (const FormatInfo& info : kFormats) {
    for (const auto& [rows, columns] : {std::pair{0, 0}, {0, 5}, {5, 0}}) {
      const EncodingPlan plan = reference::PlanEncoding(info.format, rows, columns, nothing);
      EXPECT_TRUE(plan.representability.ok()) << info.name;
      EXPECT_TRUE(EncodeTensor(plan.layout, nothing).empty()) << info.name;
      EXPECT_TRUE(DecodeTensor(plan.layout, {}).empty()) << info.name;
    }
  }
}

TEST(CodecReferenceTensorFloatTest, GivesEveryCodeBackAtEveryBias) {
  for (const WeightFormat format : TensorFloats()) {
    for (int bias = 0; bias <= 25 - InfoOf(format).mantissa_bits; ++bias) {
      std::vector<double> numbers = NumbersAtBias(InfoOf(format), bias);
      const auto sign = static_cast<uint32_t>(numbers.size());
      for (uint32_t code = 0; code < sign; ++code) numbers.push_back(-numbers[code]);
      const std::vector<uint16_t> fp16 = ExactPatterns(numbers);
      const PackedLayout layout = LayoutOf(format, 2, sign, bias);
      const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
      for (uint32_t code = 0; code < sign; ++code) {
        ASSERT_EQ(CodeAt(layout, packed, 0, code), code) << InfoOf(format).name << bias;
        ASSERT_EQ(CodeAt(layout, packed, 1, code), code + sign) << InfoOf(format).name << bias;
      }
      ASSERT_EQ(DecodeTensor(layout, packed), fp16) << InfoOf(format).name << bias;
    }
  }
}

TEST(CodecReferenceTensorFloatTest, EncodesEveryPatternIntoTheNearestNumber) {
  std::vector<uint16_t> fp16;
  for (uint32_t pattern = 0; pattern < 0x7C00; ++pattern) {
    fp16.push_back(static_cast<uint16_t>(pattern));
  }
  for (const WeightFormat format : TensorFloats()) {
    const int largest_bias = 25 - InfoOf(format).mantissa_bits;
    for (const int bias : {0, 5, 10, largest_bias}) {
      const std::vector<double> numbers = NumbersAtBias(InfoOf(format), bias);
      const auto listed = std::count_if(
          fp16.begin(), fp16.end(), [&](uint16_t x) { return ValueOfFp16(x) > numbers.back(); });
      const PackedLayout layout = LayoutOf(format, 1, 0x7C00, bias, listed);
      const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
      for (int64_t i = 0; i < 0x7C00; ++i) {
        const double x = ValueOfFp16(fp16[i]);
        const auto above = std::lower_bound(numbers.begin(), numbers.end(), x) - numbers.begin();
        const auto count = static_cast<int64_t>(numbers.size());
        int64_t wanted = std::min(above, count - 1);
        if (above != 0 && above != count) {
          const double to_below = x - numbers[above - 1];
          const double to_above = numbers[above] - x;
          const bool takes_below = to_below < to_above || (to_below == to_above && above % 2 == 1);
          wanted = takes_below ? above - 1 : above;
        }
        ASSERT_EQ(CodeAt(layout, packed, 0, i), wanted) << InfoOf(format).name << bias << " " << x;
      }
      ASSERT_EQ(DecodeTensor(layout, packed).back(), listed == 0 ? 0 : fp16.back());
    }
  }
}

TEST(CodecReferenceSideListTest, HoldsWhatIsAboveTheLargestNumberInOrder) {
  // Bias 5 of e2m5: the largest number is 0.4921875, and 0.4924 would round to it.
  std::vector<uint16_t> fp16(3 * 40);
  fp16[2] = Fp16OfValue(0.4921875);
  fp16[41] = Fp16OfValue(-0.6);
  fp16[77] = Fp16OfValue(0.4924);
  fp16[119] = Fp16OfValue(-7.0);
  const PackedLayout layout = LayoutOf(WeightFormat::kE2m5, 3, 40, 5, 3);
  const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
  const auto position = [&](int64_t i) {
    return BitsAt(packed, BitRange{(layout.side_position_offset_bytes + 4 * i) * 8, 32});
  };
  const auto value = [&](int64_t i) {
    return BitsAt(packed, BitRange{(layout.side_value_offset_bytes + 2 * i) * 8, 16});
  };
  EXPECT_EQ(position(0), 41u);
  EXPECT_EQ(position(1), 77u);
  EXPECT_EQ(position(2), 119u);
  EXPECT_EQ(value(0), fp16[41]);
  EXPECT_EQ(value(1), fp16[77]);
  EXPECT_EQ(value(2), fp16[119]);
  EXPECT_EQ(CodeAt(layout, packed, 0, 2), 0x7Fu);
  EXPECT_EQ(CodeAt(layout, packed, 1, 1), 0xFFu);
  EXPECT_EQ(CodeAt(layout, packed, 1, 37), 0x7Fu);
  EXPECT_EQ(CodeAt(layout, packed, 2, 39), 0xFFu);
  EXPECT_EQ(DecodeTensor(layout, packed), fp16);
}

TEST(CodecReferenceSideListTest, IsReadWithoutPositionsOutsideTheTensor) {
  const std::vector<uint16_t> fp16 = {Fp16OfValue(0.25), Fp16OfValue(0.6), Fp16OfValue(0.7)};
  const PackedLayout layout = LayoutOf(WeightFormat::kE2m5, 1, 3, 5, 2);
  std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
  packed[layout.side_position_offset_bytes] = 3;
  EXPECT_EQ(DecodeTensor(layout, packed),
            (std::vector<uint16_t>{fp16[0], Fp16OfValue(0.4921875), fp16[2]}));
}

uint16_t ScaleAt(const PackedLayout& layout, const std::vector<uint8_t>& packed, int64_t i) {
  return static_cast<uint16_t>(
      BitsAt(packed, BitRange{(layout.scale_offset_bytes + 2 * i) * 8, 16}));
}

// The row's squared error with this scale, in double and by trying every magnitude.
double RowError(const std::vector<double>& magnitudes, const std::vector<double>& row,
                double scale) {
  double error = 0;
  for (const double x : row) {
    const double y = std::abs(x) / scale;
    const auto above = std::lower_bound(magnitudes.begin(), magnitudes.end(), y);
    double least = above == magnitudes.end() ? y - magnitudes.back() : *above - y;
    if (above != magnitudes.begin()) least = std::min(least, y - above[-1]);
    error += least * scale * least * scale;
  }
  return error;
}

TEST(CodecReferenceRowScaleTest, IsTheBestOf32CandidatesAndNeverWorseThanTheLargestWeights) {
  constexpr int64_t kRows = 8;
  constexpr int64_t kColumns = 300;
  for (const WeightFormat format : RowFloats()) {
    const FormatInfo& info = InfoOf(format);
    // raw is the float of bias 15.
    const std::vector<double> magnitudes = NumbersAtBias(info, 15);
    std::vector<uint16_t> fp16 = GaussianWeights(kRows * kColumns, 0.03, 5);
    for (int64_t row = 0; row < kRows; ++row)
      fp16[row * kColumns + 7 * row] = Fp16OfValue(0.1 * row);
    const PackedLayout layout = LayoutOf(format, kRows, kColumns);
    const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
    for (int64_t r = 0; r < kRows; ++r) {
      std::vector<double> row;
      double largest = 0;
      for (int64_t c = 0; c < kColumns; ++c) {
        row.push_back(ValueOfFp16(fp16[r * kColumns + c]));
        largest = std::max(largest, std::abs(row.back()));
      }
      double best =
          RowError(magnitudes, row, ValueOfFp16(Fp16OfValue(largest / magnitudes.back())));
      for (int j = 1; j < 32; ++j) {
        const double wanted = largest * std::exp2(j / 32.0) / magnitudes.back();
        best = std::min(best, RowError(magnitudes, row, ValueOfFp16(Fp16OfValue(wanted))));
      }
      const double chosen = ValueOfFp16(ScaleAt(layout, packed, r));
      EXPECT_LE(RowError(magnitudes, row, chosen), best * (1 + 1e-6)) << info.name << " row " << r;
    }
  }
}

TEST(CodecReferenceRowScaleTest, HangsOnTheOrderOfTheSum) {
  const std::vector<uint16_t> fp16(kRowOfCloseScales.begin(), kRowOfCloseScales.end());
  const PackedLayout layout = LayoutOf(WeightFormat::kE3m8r, 1, 50);
  EXPECT_EQ(ScaleAt(layout, EncodeTensor(layout, fp16), 0), kScaleOfCloseScales);
}

TEST(CodecReferenceRowScaleTest, IsTheSmallestOfThoseWithEqualErrors) {
  // Three steps of fp16's smallest are 1.5 * 2 as well as 1 * 3.
  const PackedLayout layout = LayoutOf(WeightFormat::kE4m3r, 1, 1);
  const std::vector<uint16_t> fp16 = {0x0003};
  EXPECT_EQ(ScaleAt(layout, EncodeTensor(layout, fp16), 0), 0x0002);
}

TEST(CodecReferenceRowScaleTest, LosesNothingOfARowThatFits) {
  for (const WeightFormat format : RowFloats()) {
    // Every raw number times 2^9 or 1, whatever stays within fp16.
    const FormatInfo& info = InfoOf(format);
    std::vector<uint16_t> fp16;
    for (const double magnitude : NumbersAtBias(info, 15)) {
      fp16.push_back(Fp16OfValue(magnitude * 512.0));
      fp16.push_back(Fp16OfValue(magnitude * -512.0));
    }
    const auto columns = static_cast<int64_t>(fp16.size());
    const PackedLayout layout = LayoutOf(format, 1, columns);
    const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
    EXPECT_EQ(ValueOfFp16(ScaleAt(layout, packed, 0)), 512.0) << info.name;
    EXPECT_EQ(DecodeTensor(layout, packed), fp16) << info.name;
    for (int64_t c = 0; c < columns; ++c) {
      const auto code = static_cast<uint32_t>(c / 2 + (c % 2 == 0 ? 0 : columns / 2));
      ASSERT_EQ(CodeAt(layout, packed, 0, c), code) << info.name;
    }
  }
}

TEST(CodecReferenceRowScaleTest, IsZeroForARowOfZerosWhoseSignsStay) {
  for (const WeightFormat format : RowFloats()) {
    const std::vector<uint16_t> fp16 = {0x0000, 0x8000, 0x0000, 0x3C00, 0x8000, 0x0000};
    const PackedLayout layout = LayoutOf(format, 2, 3);
    const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
    const uint32_t sign = CodeCount(InfoOf(format)) / 2;
    EXPECT_EQ(ScaleAt(layout, packed, 0), 0x0000);
    EXPECT_EQ(CodeAt(layout, packed, 0, 0), 0u);
    EXPECT_EQ(CodeAt(layout, packed, 0, 1), sign);
    EXPECT_EQ(CodeAt(layout, packed, 1, 1), sign);
    const std::vector<uint16_t> decoded = DecodeTensor(layout, packed);
    EXPECT_EQ(decoded[1], 0x8000);
    EXPECT_EQ(decoded[2], 0x0000);
    EXPECT_EQ(decoded[4], 0x8000);
  }
}

TEST(CodecReferenceRowScaleTest, IsFiniteForTheLargestWeightThatTheFormatTakes) {
  for (const FormatInfo& info : kFormats) {
    if (info.scaling != Scaling::kRow && info.scaling != Scaling::kBlock32) continue;
    // Nearer to fp16's largest, the nearest raw of e4m3r times S can be beyond it: half a step of
    // raw is up to a sixteenth.
    const double limit = std::min(info.max_value, 61440.0);
    uint16_t largest = 0x7BFF;
    while (ValueOfFp16(largest) > limit) --largest;
    const std::vector<uint16_t> fp16 = {0x0000, largest};
    EXPECT_TRUE(PlanRow(info.format, fp16).representability.ok()) << info.name;
    const PackedLayout layout = LayoutOf(info.format, 1, 2);
    const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
    EXPECT_LE(ScaleAt(layout, packed, 0), 0x7BFF) << info.name;
    const double decoded = ValueOfFp16(DecodeTensor(layout, packed)[1]);
    EXPECT_NEAR(decoded / ValueOfFp16(largest), 1.0, 0.002) << info.name;
  }
}

TEST(CodecReferenceRowScaleTest, IsAboveZeroForTheSmallestWeight) {
  for (const FormatInfo& info : kFormats) {
    if (info.scaling != Scaling::kRow && info.scaling != Scaling::kBlock32) continue;
    const std::vector<uint16_t> fp16 = {0x0000, 0x8001};
    const PackedLayout layout = LayoutOf(info.format, 1, 2);
    const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
    EXPECT_GT(ScaleAt(layout, packed, 0), 0x0000) << info.name;
    EXPECT_EQ(DecodeTensor(layout, packed), fp16) << info.name;
  }
}

TEST(CodecReferenceIntegerScaleTest, LosesNoMoreThanHalfAStep) {
  for (const WeightFormat format : {WeightFormat::kQ8, WeightFormat::kQ8b32}) {
    constexpr int64_t kRows = 4;
    constexpr int64_t kColumns = 330;  // ten blocks of 32 and one of 10
    constexpr int64_t kBlocks = 11;
    const std::vector<uint16_t> fp16 = GaussianWeights(kRows * kColumns, 0.1, 9);
    const PackedLayout layout = LayoutOf(format, kRows, kColumns);
    const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
    const std::vector<uint16_t> decoded = DecodeTensor(layout, packed);
    for (int64_t i = 0; i < kRows * kColumns; ++i) {
      const int64_t row = i / kColumns;
      const int64_t index = format == WeightFormat::kQ8 ? row : row * kBlocks + i % kColumns / 32;
      const double scale = ValueOfFp16(ScaleAt(layout, packed, index));
      const double x = ValueOfFp16(fp16[i]);
      // Half of fp16's last place; and a little for y, whose roundings move it by 2^-23.
      const double rounding = std::abs(x) * 0x1p-11 + scale * 0x1p-20;
      ASSERT_LE(std::abs(ValueOfFp16(decoded[i]) - x), scale / 256 + rounding) << i;
    }
  }
}

TEST(CodecReferenceIntegerScaleTest, IsThatOfTheRowOrOf32Weights) {
  // 127/128 of the scale is the largest magnitude: 1 gives 128/127, rounded to fp16.
  std::vector<uint16_t> fp16(2 * 40);
  fp16[3] = Fp16OfValue(-127.0);
  fp16[40 + 31] = Fp16OfValue(63.5);
  fp16[40 + 32] = Fp16OfValue(0.9921875);
  fp16[40 + 39] = Fp16OfValue(-0.5);
  const PackedLayout q8 = LayoutOf(WeightFormat::kQ8, 2, 40);
  const std::vector<uint8_t> by_row = EncodeTensor(q8, fp16);
  EXPECT_EQ(ValueOfFp16(ScaleAt(q8, by_row, 0)), 128.0);
  EXPECT_EQ(ValueOfFp16(ScaleAt(q8, by_row, 1)), 64.0);
  EXPECT_EQ(CodeAt(q8, by_row, 0, 3), 0x81u);
  EXPECT_EQ(CodeAt(q8, by_row, 1, 31), 0x7Fu);
  EXPECT_EQ(CodeAt(q8, by_row, 1, 32), 0x02u);  // 1.984
  EXPECT_EQ(CodeAt(q8, by_row, 1, 39), 0xFFu);  // -1

  const PackedLayout q8b32 = LayoutOf(WeightFormat::kQ8b32, 2, 40);
  const std::vector<uint8_t> by_block = EncodeTensor(q8b32, fp16);
  EXPECT_EQ(ValueOfFp16(ScaleAt(q8b32, by_block, 0)), 128.0);
  EXPECT_EQ(ValueOfFp16(ScaleAt(q8b32, by_block, 1)), 0.0);
  EXPECT_EQ(ValueOfFp16(ScaleAt(q8b32, by_block, 2)), 64.0);
  EXPECT_EQ(ValueOfFp16(ScaleAt(q8b32, by_block, 3)), 1.0);
  EXPECT_EQ(CodeAt(q8b32, by_block, 1, 31), 0x7Fu);
  EXPECT_EQ(CodeAt(q8b32, by_block, 1, 32), 0x7Fu);
  EXPECT_EQ(CodeAt(q8b32, by_block, 1, 39), 0xC0u);  // -64
}

// In doubles, from the formulas of FORMATS.md: integer / 128 times the scale is exact in them.
bool IsExact(std::span<const uint16_t> weights, uint16_t scale) {
  return std::ranges::all_of(weights, [&](uint16_t x) {
    for (int integer = -127; integer <= 127; ++integer) {
      if (Fp16OfValue(integer * ValueOfFp16(scale) / 128) == (x == 0x8000 ? 0 : x)) return true;
    }
    return false;
  });
}

uint16_t UsualScale(std::span<const uint16_t> weights) {
  double largest = 0.0;
  for (const uint16_t x : weights) largest = std::max(largest, std::abs(ValueOfFp16(x)));
  return Fp16OfValue(static_cast<float>(largest) * (128.0f / 127.0f));
}

TEST(CodecReferenceIntegerScaleTest, GivesBackIntegersThatWereScaledByAnFp16Number) {
  constexpr int64_t kRows = 2000;
  constexpr int64_t kColumns = 64;
  const std::vector<uint16_t> fp16 = SampleWeights(WeightSample::kIntegers, kRows, kColumns, 11);
  for (const WeightFormat format : {WeightFormat::kQ8, WeightFormat::kQ8b32}) {
    const int64_t block = format == WeightFormat::kQ8 ? kColumns : 32;
    const PackedLayout layout = LayoutOf(format, kRows, kColumns);
    const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
    const std::vector<uint16_t> decoded = DecodeTensor(layout, packed);
    int64_t exact = 0;
    int64_t lost_by_the_usual_scale = 0;
    for (int64_t at = 0; at < kRows * kColumns; at += block) {
      const bool has_own_scale = block == 32 ? at / kColumns % 2 == 1 : at / kColumns % 2 == 0;
      const std::span<const uint16_t> weights = std::span(fp16).subspan(at, block);
      if (!has_own_scale) continue;
      ++exact;
      for (int64_t i = at; i < at + block; ++i) {
        ASSERT_EQ(ValueOfFp16(decoded[i]), ValueOfFp16(fp16[i])) << i;
      }
      lost_by_the_usual_scale += IsExact(weights, UsualScale(weights)) ? 0 : 1;
    }
    EXPECT_EQ(exact, format == WeightFormat::kQ8 ? kRows / 2 : kRows);
    EXPECT_GT(lost_by_the_usual_scale, 3) << "else the neighbours were not needed";
    EXPECT_LT(lost_by_the_usual_scale, exact / 20);
  }
}

TEST(CodecReferenceIntegerScaleTest, IsTheUsualOneWhereNoneIsExact) {
  for (const WeightSample sample : {WeightSample::kTrained, WeightSample::kLarge,
                                    WeightSample::kAnyBelowHalf, WeightSample::kTiny}) {
    const std::vector<uint16_t> fp16 = SampleWeights(sample, 100, 64, 12);
    for (const WeightFormat format : {WeightFormat::kQ8, WeightFormat::kQ8b32}) {
      const int64_t block = format == WeightFormat::kQ8 ? 64 : 32;
      const PackedLayout layout = LayoutOf(format, 100, 64);
      const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
      for (int64_t i = 0; i < 100 * 64 / block; ++i) {
        const std::span<const uint16_t> weights = std::span(fp16).subspan(i * block, block);
        const uint16_t usual = UsualScale(weights);
        const uint16_t scale = ScaleAt(layout, packed, i);
        if (scale == usual) continue;
        EXPECT_FALSE(IsExact(weights, usual)) << SampleName(sample);
        EXPECT_TRUE(IsExact(weights, scale)) << SampleName(sample);
      }
    }
  }
}

TEST(CodecReferenceIntegerScaleTest, MultipliesByARoundedReciprocal) {
  const std::vector<uint16_t> fp16(kRowOfATieOfQ8.begin(), kRowOfATieOfQ8.end());
  for (const WeightFormat format : {WeightFormat::kQ8, WeightFormat::kQ8b32}) {
    const PackedLayout layout = LayoutOf(format, 1, 2);
    EXPECT_EQ(CodeAt(layout, EncodeTensor(layout, fp16), 0, 1), kCodeOfATieOfQ8);
  }
}

TEST(CodecReferenceIntegerScaleTest, LosesTheSignOfZero) {
  for (const WeightFormat format : {WeightFormat::kQ8, WeightFormat::kQ8b32}) {
    const std::vector<uint16_t> fp16 = {0x8000, 0x8000, 0x3C00, 0x8000};
    const PackedLayout layout = LayoutOf(format, 2, 2);
    const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
    const std::vector<uint16_t> decoded = DecodeTensor(layout, packed);
    EXPECT_EQ(decoded[0], 0x0000);
    EXPECT_EQ(decoded[3], 0x0000);
  }
}

TEST(CodecReferenceScaleTest, ReachesTheKnownSignalToNoiseOfGaussianRows) {
  constexpr int64_t kRows = 40;
  constexpr int64_t kColumns = 1280;
  const std::vector<uint16_t> fp16 = GaussianWeights(kRows * kColumns, 0.02, 1);
  const auto decibels = [&](WeightFormat format) {
    const PackedLayout layout = PlanEncoding(format, kRows, kColumns, fp16).layout;
    return Decibels(fp16, DecodeTensor(layout, EncodeTensor(layout, fp16)));
  };
  EXPECT_GE(decibels(WeightFormat::kQ8), 41.0);
  EXPECT_GE(decibels(WeightFormat::kQ8b32), 44.5);
  EXPECT_GE(decibels(WeightFormat::kE2m5), 41.0);
  EXPECT_GE(decibels(WeightFormat::kE2m5r), 43.0);
  // Two bits of mantissa more, 6.02 dB each.
  EXPECT_NEAR(decibels(WeightFormat::kE3m6r) - decibels(WeightFormat::kE3m4r), 12.04, 0.2);
  EXPECT_NEAR(decibels(WeightFormat::kE2m5r) - decibels(WeightFormat::kE2m3r), 12.04, 0.2);
}

}  // namespace
}  // namespace tightfit::reference
