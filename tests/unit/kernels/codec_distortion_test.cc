#include "kernels/codec.h"
#include "kernels/codec_reference.h"
#include "tests/unit/kernels/packed_tensor_probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace tightfit {
namespace {

// How many weights of SDXL's Linear layers have each fp16 exponent field 0..15, as published with
// the formats (README of hnmr293/nfpn).
constexpr double kWeightsOfExponent[16] = {5'160'891,   5'171'614,   10'327'845,  20'646'282,
                                           41'211'986,  81'813'038,  159'720'956, 301'214'975,
                                           508'863'860, 643'685'247, 411'904'731, 42'789'799,
                                           132'446,     3'805,       197,         8};

// Exact over all fp16 patterns below 2, uniform within a binade. What lies beyond the format's
// reach is left out of an HF format's figure; a float's side list holds it without error.
struct HistogramFigures {
  double sqnr_db;
  double beyond_share;  // of the weights
};

HistogramFigures OnThePublishedHistogram(WeightFormat format, int exponent_bias, double reach) {
  std::vector<uint16_t> patterns;
  double all = 0.0;
  double beyond = 0.0;
  double signal = 0.0;
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const auto fp16 = static_cast<uint16_t>(i);
    if ((fp16 & 0x7FFF) >= 0x4000) continue;
    const double weight = kWeightsOfExponent[fp16 >> 10 & 15];
    const double value = reference::ValueOfFp16(fp16);
    all += weight;
    if (std::abs(value) > reach) {
      beyond += weight;
      if (InfoOf(format).scaling == Scaling::kTensor) signal += weight * value * value;
    } else {
      patterns.push_back(fp16);
    }
  }
  const auto count = static_cast<int64_t>(patterns.size());
  const PackedLayout layout = LayoutOf(format, 1, count, exponent_bias);
  const std::vector<uint8_t> packed = Pack(layout, patterns);
  std::vector<float> decoded(patterns.size());
  DecodeToFp32(layout, packed.data(), {0, 1, 0, count}, decoded.data());

  double noise = 0.0;
  for (size_t i = 0; i < patterns.size(); ++i) {
    const double weight = kWeightsOfExponent[patterns[i] >> 10 & 15];
    const double value = reference::ValueOfFp16(patterns[i]);
    const double error = decoded[i] - value;
    signal += weight * value * value;
    noise += weight * error * error;
  }
  return {10.0 * std::log10(signal / noise), beyond / all};
}

TEST(CodecDistortionTest, ReachesTheExactSqnrOfNearestRounding) {
  const std::map<WeightFormat, double> wanted_db = {{WeightFormat::kHf8, 26.80},
                                                    {WeightFormat::kHf8x, 32.53},
                                                    {WeightFormat::kHf10, 38.84},
                                                    {WeightFormat::kHf12, 50.85}};
  for (const auto& [format, db] : wanted_db) {
    const HistogramFigures figures = OnThePublishedHistogram(format, 0, InfoOf(format).max_value);
    EXPECT_NEAR(figures.sqnr_db, db, 0.05) << InfoOf(format).name;
  }
}

// The bias that PlanEncoding looks for, over the whole histogram.
TEST(CodecDistortionTest, ReachesTheSqnrOfAnchoredFloatsWithTheirSideLists) {
  const std::map<WeightFormat, double> least_db = {
      {WeightFormat::kE3m4, 38.3}, {WeightFormat::kE3m6, 50.3}, {WeightFormat::kE3m8, 62.0}};
  for (const auto& [format, db] : least_db) {
    const FormatInfo& info = InfoOf(format);
    double best_db = 0.0;
    for (int bias = 0; bias <= LargestExponentBias(info); ++bias) {
      const double reach = info.max_value * std::pow(0.5, bias);
      const HistogramFigures figures = OnThePublishedHistogram(format, bias, reach);
      if (figures.beyond_share <= 0.001) best_db = std::max(best_db, figures.sqnr_db);
    }
    EXPECT_GE(best_db, db) << info.name;
    EXPECT_LE(best_db, db + 0.5) << info.name << ": the figure in FORMATS.md is out of date";
    RecordProperty(std::string(info.name), std::to_string(best_db));
  }
}

// Holds against the encoder without any table: no other code lies nearer.
TEST(CodecDistortionTest, LeavesNoNearerValue) {
  for (const WeightFormat format : HfFormats()) {
    const FormatInfo& info = InfoOf(format);
    std::vector<double> values;
    for (const uint16_t fp16 : GoldenDecode(info.format)) {
      values.push_back(reference::ValueOfFp16(fp16));
    }
    std::sort(values.begin(), values.end());
    const std::vector<uint16_t> patterns = RepresentablePatterns(info.format);
    const auto count = static_cast<int64_t>(patterns.size());
    const PackedLayout layout = LayoutOf(info.format, 1, count);
    const std::vector<uint8_t> packed = Pack(layout, patterns);
    std::vector<float> decoded(patterns.size());
    DecodeToFp32(layout, packed.data(), {0, 1, 0, count}, decoded.data());
    for (size_t i = 0; i < patterns.size(); ++i) {
      const double value = reference::ValueOfFp16(patterns[i]);
      const double distance = std::abs(decoded[i] - value);
      const auto above = std::lower_bound(values.begin(), values.end(), value);
      if (above != values.end()) {
        ASSERT_LE(distance, *above - value) << info.name << " " << value;
      }
      if (above != values.begin()) {
        ASSERT_LE(distance, value - *(above - 1)) << info.name << " " << value;
      }
    }
  }
}

}  // namespace
}  // namespace tightfit
