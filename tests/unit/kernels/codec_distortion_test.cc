#include "kernels/codec.h"
#include "kernels/codec_reference.h"
#include "tests/unit/kernels/packed_tensor_probe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <vector>

namespace tightfit {
namespace {

// How many weights of SDXL's Linear layers have each fp16 exponent field 0..15, as published with
// the formats (README of hnmr293/nfpn).
constexpr double kWeightsOfExponent[16] = {5'160'891,   5'171'614,   10'327'845,  20'646'282,
                                           41'211'986,  81'813'038,  159'720'956, 301'214'975,
                                           508'863'860, 643'685'247, 411'904'731, 42'789'799,
                                           132'446,     3'805,       197,         8};

// Exact over all fp16 patterns, uniform within a binade; what is not representable is left out.
double SqnrOnThePublishedHistogram(WeightFormat format) {
  const std::vector<uint16_t> patterns = RepresentablePatterns(format);
  const auto count = static_cast<int64_t>(patterns.size());
  const PackedLayout layout = LayoutOf(format, 1, count);
  const std::vector<uint8_t> packed = Pack(layout, patterns);
  std::vector<float> decoded(patterns.size());
  DecodeToFp32(layout, packed.data(), {0, 1, 0, count}, decoded.data());

  double signal = 0.0;
  double noise = 0.0;
  for (size_t i = 0; i < patterns.size(); ++i) {
    const double weight = kWeightsOfExponent[patterns[i] >> 10 & 31];
    const double value = reference::ValueOfFp16(patterns[i]);
    const double error = decoded[i] - value;
    signal += weight * value * value;
    noise += weight * error * error;
  }
  return 10.0 * std::log10(signal / noise);
}

TEST(CodecDistortionTest, ReachesTheExactSqnrOfNearestRounding) {
  const std::map<WeightFormat, double> wanted_db = {{WeightFormat::kHf8, 26.80},
                                                    {WeightFormat::kHf8x, 32.53},
                                                    {WeightFormat::kHf10, 38.84},
                                                    {WeightFormat::kHf12, 50.85}};
  for (const FormatInfo& info : kFormats) {
    ASSERT_TRUE(wanted_db.contains(info.format)) << info.name;
    EXPECT_NEAR(SqnrOnThePublishedHistogram(info.format), wanted_db.at(info.format), 0.05)
        << info.name;
  }
}

// Holds against the encoder without any table: no other code lies nearer.
TEST(CodecDistortionTest, LeavesNoNearerValue) {
  for (const FormatInfo& info : kFormats) {
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
