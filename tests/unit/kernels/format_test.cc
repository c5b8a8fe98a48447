#include "kernels/format.h"

#include "kernels/codec_reference.h"
#include "kernels/packed_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <string_view>
#include <vector>

namespace tightfit {
namespace {

// A switch that the compiler checks: a new enumerator without a line here is a warning, an error in
// every preset.
std::string_view NameOfEnumerator(WeightFormat format) {
  switch (format) {
    case WeightFormat::kHf8:
      return "hf8";
    case WeightFormat::kHf8x:
      return "hf8x";
    case WeightFormat::kHf10:
      return "hf10";
    case WeightFormat::kHf12:
      return "hf12";
    case WeightFormat::kE2m3:
      return "e2m3";
    case WeightFormat::kE2m5:
      return "e2m5";
    case WeightFormat::kE3m4:
      return "e3m4";
    case WeightFormat::kE4m3:
      return "e4m3";
    case WeightFormat::kE3m6:
      return "e3m6";
    case WeightFormat::kE3m8:
      return "e3m8";
    case WeightFormat::kE2m3r:
      return "e2m3r";
    case WeightFormat::kE2m5r:
      return "e2m5r";
    case WeightFormat::kE3m4r:
      return "e3m4r";
    case WeightFormat::kE4m3r:
      return "e4m3r";
    case WeightFormat::kE3m6r:
      return "e3m6r";
    case WeightFormat::kE3m8r:
      return "e3m8r";
    case WeightFormat::kQ8:
      return "q8";
    case WeightFormat::kQ8b32:
      return "q8b32";
    case WeightFormat::kNf5:
      return "nf5";
    case WeightFormat::kNf458:
      return "nf4.58";
    case WeightFormat::kNf4:
      return "nf4";
    case WeightFormat::kNf358:
      return "nf3.58";
    case WeightFormat::kNf281:
      return "nf2.81";
    case WeightFormat::kBf16:
      return "bf16";
    case WeightFormat::kFp8E4m3:
      return "fp8-e4m3";
  }
  return "";
}

TEST(FormatTableTest, HasOneRowForEachEnumerator) {
  std::set<std::string_view> names;
  for (int number = 0; number < 256; ++number) {
    const auto format = static_cast<WeightFormat>(number);
    const std::string_view name = NameOfEnumerator(format);
    if (name.empty()) continue;
    EXPECT_EQ(InfoOf(format).format, format) << name;
    EXPECT_EQ(InfoOf(format).name, name);
    names.insert(name);
  }
  EXPECT_EQ(names.size(), kFormats.size());
}

TEST(FormatTableTest, FindsEveryFormatByItsNameOnly) {
  for (const FormatInfo& info : kFormats) EXPECT_EQ(FormatByName(info.name), info.format);
  for (const char* unknown : {"", "hf", "HF8", "hf8 ", "hf81", "fp16"}) {
    EXPECT_EQ(FormatByName(unknown), std::nullopt) << unknown;
  }
}

TEST(FormatTableTest, CountsTheBitsOfBothPlanesOrOfRadixWords) {
  for (const FormatInfo& info : kFormats) {
    const RadixWord word = RadixWordOf(info);
    if (word.digits != 0) {
      EXPECT_EQ(info.bits, static_cast<double>(word.bits) / word.digits) << info.name;
      // The word holds its digits, and a bit less would not.
      const double digits_bits = word.digits * std::log2(info.level_count);
      EXPECT_LE(digits_bits, word.bits) << info.name;
      EXPECT_GT(digits_bits, word.bits - 1) << info.name;
      EXPECT_EQ(info.low_plane_bits + info.high_plane_bits, 0) << info.name;
    } else {
      EXPECT_EQ(info.bits, info.low_plane_bits + info.high_plane_bits) << info.name;
    }
    if (info.family == FormatFamily::kHf || info.family == FormatFamily::kFloat) {
      EXPECT_EQ(info.bits, 1 + info.exponent_bits + info.mantissa_bits) << info.name;
    }
  }
}

// The value of every code where it has one of its own; of a tensor-scaled float, raw.
std::vector<double> ValuesOfCodes(const FormatInfo& info) {
  std::vector<double> values;
  for (uint32_t code = 0; code < CodeCount(info); ++code) {
    const uint16_t fp16 = reference::DecodeCode(info.format, code);
    if ((fp16 & 0x7C00) != 0x7C00) values.push_back(reference::ValueOfFp16(fp16));
  }
  return values;
}

TEST(FormatTableTest, NamesTheLargestValueOfAllCodes) {
  for (const FormatInfo& info : kFormats) {
    if (info.scaling != Scaling::kNone && info.scaling != Scaling::kTensor) continue;
    const std::vector<double> values = ValuesOfCodes(info);
    // S = 2^15 at bias 0.
    const double scale = info.scaling == Scaling::kTensor ? 32768.0 : 1.0;
    EXPECT_EQ(info.max_value, scale * *std::max_element(values.begin(), values.end())) << info.name;
  }
}

TEST(FormatTableTest, SaysRightlyWhetherBf16HoldsEveryValue) {
  for (const FormatInfo& info : kFormats) {
    bool exact = info.scaling == Scaling::kNone || info.scaling == Scaling::kTensor;
    if (exact) {
      for (const double value : ValuesOfCodes(info)) {
        exact = exact && std::bit_cast<uint32_t>(static_cast<float>(value)) % 65536 == 0;
      }
    }
    EXPECT_EQ(info.exact_in_bf16, exact) << info.name;
  }
}

}  // namespace
}  // namespace tightfit
