#include "kernels/format.h"

#include "kernels/codec_reference.h"
#include "tests/unit/kernels/packed_tensor_probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <string_view>

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

TEST(FormatTableTest, CountsTheBitsOfBothPlanes) {
  for (const FormatInfo& info : kFormats) {
    EXPECT_EQ(info.bits, info.low_plane_bits + info.high_plane_bits) << info.name;
    EXPECT_EQ(info.low_plane_bits, 8) << info.name;
  }
}

TEST(FormatTableTest, NamesTheLargestValueOfAllCodes) {
  for (const FormatInfo& info : kFormats) {
    double largest = 0.0;
    for (const uint16_t fp16 : GoldenDecode(info.format)) {
      largest = std::max(largest, reference::ValueOfFp16(fp16));
    }
    EXPECT_EQ(info.max_value, largest) << info.name;
  }
}

TEST(FormatTableTest, SaysRightlyWhetherBf16HoldsEveryValue) {
  for (const FormatInfo& info : kFormats) {
    bool exact = true;
    for (const uint16_t fp16 : GoldenDecode(info.format)) {
      const float value = static_cast<float>(reference::ValueOfFp16(fp16));
      exact = exact && std::bit_cast<uint32_t>(value) % 65536 == 0;
    }
    EXPECT_EQ(info.exact_in_bf16, exact) << info.name;
  }
}

}  // namespace
}  // namespace tightfit
