#include "server/weights/weight_encoding.h"

#include "kernels/codec_reference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace tightfit {
namespace {

WeightEntry ConvEntry(StoredDtype dtype) {
  WeightEntry entry{.tensor = {.name = "conv.weight", .dtype = dtype, .shape = {3, 5, 3, 3}},
                    .kind = LayerKind::kConv2d,
                    .format = WeightFormat::kHf8,
                    .header = {},
                    .why_dense = {}};
  entry.tensor.element_count = 3 * 5 * 9;
  entry.tensor.size_bytes = 2 * entry.tensor.element_count;
  return entry;
}

// Patterns of 2^-12 .. 2^-8 with signs, in the order of the shape.
std::vector<uint16_t> Values() {
  std::vector<uint16_t> values(3 * 5 * 9);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<uint16_t>(0x0C00 + (i * 37) % 0x1000 + (i % 3 == 0 ? 0x8000 : 0));
  }
  return values;
}

std::vector<uint8_t> Encoded(StoredDtype dtype, const std::vector<uint16_t>& values,
                             const ParallelFor& parallel_for) {
  const WeightEntry entry = ConvEntry(dtype);
  std::vector<uint16_t> fp16(values.size());
  std::vector<uint16_t> channels_last(values.size());
  const WeightEncoding encoding(entry, values.data(), fp16.data(), channels_last.data(),
                                parallel_for);
  EXPECT_EQ(encoding.why_not(), "");
  std::vector<uint8_t> codes(static_cast<size_t>(encoding.layout().total_bytes));
  encoding.Encode(codes.data());
  return codes;
}

TEST(WeightEncodingTest, PutsTheChannelsOfAConvolutionLast) {
  const std::vector<uint16_t> values = Values();
  std::vector<uint16_t> ordered(values.size());
  for (size_t k = 0; k < 3; ++k) {
    for (size_t c = 0; c < 5; ++c) {
      for (size_t tap = 0; tap < 9; ++tap) {
        ordered[k * 45 + tap * 5 + c] = values[k * 45 + c * 9 + tap];
      }
    }
  }
  const std::span<const uint16_t> in(ordered);
  const PackedLayout layout = reference::PlanEncoding(WeightFormat::kHf8, 3, 45, in).layout;
  const std::vector<uint8_t> expected = reference::EncodeTensor(layout, in);
  EXPECT_EQ(Encoded(StoredDtype::kF16, values, InThreads(2)), expected);
  EXPECT_EQ(Encoded(StoredDtype::kF16, values, {}), expected) << "without threads";
}

TEST(WeightEncodingTest, ReadsBf16AsTheFp16OfEqualValue) {
  // Values that both types hold: seven bits of mantissa are all that is set.
  std::vector<uint16_t> fp16 = Values();
  std::vector<uint16_t> bf16;
  for (uint16_t& value : fp16) {
    value &= 0xFFF8;
    const uint32_t bits = std::bit_cast<uint32_t>(
        std::bit_cast<float>((static_cast<uint32_t>(value & 0x8000) << 16) |
                             ((static_cast<uint32_t>(value & 0x7FFF) << 13) + (112u << 23))));
    bf16.push_back(static_cast<uint16_t>(bits >> 16));
  }
  EXPECT_EQ(Encoded(StoredDtype::kBF16, bf16, {}), Encoded(StoredDtype::kF16, fp16, {}));
}

}  // namespace
}  // namespace tightfit
