// The reference's packed bytes: the examples of FORMATS.md, and the places of all bits.
#include "kernels/codec_reference.h"
#include "tests/unit/kernels/reference_probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <initializer_list>
#include <tuple>

namespace tightfit::reference {
namespace {

// Bytes of a packed tensor, each part filled up with zeros to the next border.
std::vector<uint8_t> Parts(std::initializer_list<std::vector<uint8_t>> parts) {
  std::vector<uint8_t> bytes;
  for (const std::vector<uint8_t>& part : parts) {
    bytes.insert(bytes.end(), part.begin(), part.end());
    bytes.resize((bytes.size() + 15) / 16 * 16);
  }
  return bytes;
}

// Section 6: 0.5, -0.75, six zeros, 0.046875, seven zeros.
std::vector<uint16_t> WorkedExample() {
  std::vector<uint16_t> fp16(16);
  fp16[0] = 0x3800;
  fp16[1] = 0xBA00;
  fp16[8] = 0x2A00;
  return fp16;
}

TEST(CodecReferenceExampleTest, PacksHf12AsSection6) {
  EXPECT_EQ(EncodeTensor(LayoutOf(WeightFormat::kHf12, 1, 16), WorkedExample()),
            Parts({{0x07, 0x87, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0}, {0x70, 0x08}}));
}

TEST(CodecReferenceExampleTest, PacksHf10AsSection6) {
  EXPECT_EQ(EncodeTensor(LayoutOf(WeightFormat::kHf10, 1, 16), WorkedExample()),
            Parts({{0x07, 0x27, 0, 0, 0, 0, 0, 0, 0xE0, 0, 0, 0, 0, 0, 0, 0}, {0x10, 0x02}}));
}

TEST(CodecReferenceExampleTest, ReadsTheCodesOfSection1) {
  EXPECT_EQ(DecodeCode(WeightFormat::kHf8, 0x78), 0x2A00);
  EXPECT_EQ(DecodeCode(WeightFormat::kHf8, 0x07), 0x3800);
  EXPECT_EQ(DecodeCode(WeightFormat::kHf8, 0x8F), 0xBA00);
  EXPECT_EQ(DecodeCode(WeightFormat::kHf8, 0x08), 0x0200);
  EXPECT_EQ(DecodeCode(WeightFormat::kHf10, 0x227), 0xBA00);
  EXPECT_EQ(DecodeCode(WeightFormat::kHf12, 0x610), 0x2440);
  EXPECT_EQ(DecodeCode(WeightFormat::kHf12, 0x09C), 0x2E60);
  EXPECT_EQ(DecodeCode(WeightFormat::kHf8x, 0xF4), 0xBA00);
}

TEST(CodecReferenceExampleTest, EncodesThePatternsOfSection1) {
  EXPECT_EQ(EncodePattern(WeightFormat::kHf8, 0x2BFF), 0x04u);
  EXPECT_EQ(EncodePattern(WeightFormat::kHf8, 0x0FFF), 0x10u);
  EXPECT_EQ(EncodePattern(WeightFormat::kHf8, 0x2D00), 0x04u);
  EXPECT_EQ(EncodePattern(WeightFormat::kHf8, 0x0100), 0x00u);
  EXPECT_EQ(EncodePattern(WeightFormat::kHf8, 0x0101), 0x08u);
  EXPECT_EQ(EncodePattern(WeightFormat::kHf8, 0x3A01), std::nullopt);
}

// e2m5 at bias 5; 0.6 is 0x38CD.
TEST(CodecReferenceExampleTest, PacksE2m5AsSection2) {
  const std::vector<uint16_t> fp16 = {Fp16OfValue(0.24609375), Fp16OfValue(-0x1p-9), 0x38CD};
  EXPECT_EQ(EncodeTensor(LayoutOf(WeightFormat::kE2m5, 1, 3, 5, 1), fp16),
            Parts({{0x5F, 0x81, 0x7F}, {2, 0, 0, 0}, {0xCD, 0x38}}));
  EXPECT_EQ(DecodeCode(WeightFormat::kE2m5, 0x5F), 0x0BE0);
  EXPECT_EQ(DecodeCode(WeightFormat::kE2m5, 0x81), 0x8020);
}

// e2m3 at bias 0: codes 0x3F = -8 * 1.875, 0x2A = -2 * 1.25 and 0x15 = 4 * 1.625.
TEST(CodecReferenceExampleTest, SplitsSixBitsIntoFourAndTwo) {
  std::vector<double> values(16);
  values[0] = -15.0;
  values[5] = -2.5;
  values[8] = 6.5;
  EXPECT_EQ(EncodeTensor(LayoutOf(WeightFormat::kE2m3, 1, 16), ExactPatterns(values)),
            Parts({{0x5F, 0, 0, 0, 0, 0x0A, 0, 0}, {0x13, 0x08, 0, 0}}));
}

// Levels 31, 0 and 16 at places 0, 1 and 9, and zeros, which are 15.
TEST(CodecReferenceExampleTest, SplitsNf5IntoFourBitsAndOne) {
  std::vector<uint16_t> fp16(16);
  fp16[0] = Fp16OfValue(1.0);
  fp16[1] = Fp16OfValue(-1.0);
  fp16[9] = Fp16OfValue(0.0203508921);
  EXPECT_EQ(EncodeTensor(LayoutOf(WeightFormat::kNf5, 1, 16), fp16),
            Parts({{0xFF, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
                   {0x01, 0x10},
                   {0x00, 0x00, 0x80, 0x3F},
                   {0xFF}}));
}

// The last group of five weights is stored whole: places without a weight are 0, not level 7.
TEST(CodecReferenceExampleTest, FillsTheLastGroupOfNf4WithZeroBits) {
  const std::vector<uint16_t> fp16 = {0x3C00, 0x0000, 0xBC00, 0x0000, 0x3C00};
  EXPECT_EQ(EncodeTensor(LayoutOf(WeightFormat::kNf4, 5, 1), fp16),
            Parts({{0x0F, 0x07, 0x00, 0x07, 0x0F}, {0x00, 0x00, 0x80, 0x3F}, {0xFF}}));
}

TEST(CodecReferenceExampleTest, PutsTheScalesOfRowsBehindTheirCodes) {
  // -127 and 63.5: S is 128 (0x5800) and 64 (0x5400).
  const std::vector<double> values = {-127.0, 1.0, 0.0, 63.5, -0.5, 1.0};
  EXPECT_EQ(EncodeTensor(LayoutOf(WeightFormat::kQ8, 2, 3), ExactPatterns(values)),
            Parts({{0x81, 0x01, 0x00}, {0x7F, 0xFF, 0x02}, {0x00, 0x58, 0x00, 0x54}}));
  // 1.96875 * 2^-3 is the largest raw times 2^9 (0x6000), and -2^-3 the code s 1, E 3, f 0.
  const std::vector<double> row = {0.24609375, -0.125};
  EXPECT_EQ(EncodeTensor(LayoutOf(WeightFormat::kE2m5r, 1, 2), ExactPatterns(row)),
            Parts({{0x7F, 0xE0}, {0x00, 0x60}}));
}

TEST(CodecReferenceExampleTest, StoresBf16InLittleEndianAndFp8InBytes) {
  const std::vector<uint16_t> fp16 = {0x3C00, 0xC000, 0x8000};  // 1, -2, -0
  EXPECT_EQ(EncodeTensor(LayoutOf(WeightFormat::kBf16, 1, 3), fp16),
            Parts({{0x80, 0x3F, 0x00, 0xC0, 0x00, 0x80}, {0}}));  // 32 bytes a group
  EXPECT_EQ(EncodeTensor(LayoutOf(WeightFormat::kFp8E4m3, 1, 3), fp16),
            Parts({{0x38, 0xC0, 0x80}}));
}

// Weights that every format takes, with two that a tensor-scaled float at TestLayout's bias lists.
constexpr int kTestBias = 4;
std::vector<uint16_t> TestWeights(int64_t rows, int64_t columns) {
  std::vector<uint16_t> fp16 = GaussianWeights(rows * columns, 0.05, 31);
  for (uint16_t& x : fp16) x = (x & 0x7FFF) < 0x3400 ? x : 0x3400;  // 0.25
  fp16.front() = 0x3A00;                                            // 0.75
  fp16.back() = 0xBA00;
  return fp16;
}

PackedLayout TestLayout(const FormatInfo& info, int64_t rows, int64_t columns) {
  if (info.scaling != Scaling::kTensor) return LayoutOf(info.format, rows, columns);
  // Magnitudes below 2^(2^exponent_bits - bias) are numbers: 0.5 of e2m_, and 0.75 is above.
  const int bias = kTestBias + (1 << info.exponent_bits) - 3;
  return LayoutOf(info.format, rows, columns, bias, rows * columns == 1 ? 1 : 2);
}

constexpr std::tuple<int64_t, int64_t> kShapes[] = {{1, 1},  {1, 2},  {3, 16},   {3, 40},  {5, 77},
                                                    {9, 64}, {64, 9}, {2, 1280}, {7, 5000}};

// How often each bit of the packed tensor is used.
std::vector<int> CountUses(const PackedLayout& layout) {
  std::vector<int> uses(layout.total_bytes * 8);
  const auto use = [&](BitRange place) {
    for (int64_t bit = place.first; bit < place.first + place.count; ++bit) ++uses.at(bit);
  };
  const auto use_numbers = [&](int64_t offset_bytes, int64_t count, int bytes) {
    for (int64_t i = 0; i < count * bytes; ++i) use({(offset_bytes + i) * 8, 8});
  };
  const FormatInfo& info = InfoOf(layout.format);
  const int64_t weights = layout.rows * layout.columns;
  if (const RadixWord word = RadixWordOf(info); word.digits != 0) {
    for (int64_t i = 0; i * word.digits < weights; ++i) use({i * word.bits, word.bits});
  } else {
    for (int64_t row = 0; row < layout.rows; ++row) {
      for (int64_t column = 0; column < layout.columns; ++column) {
        for (const BitRange place : CodePlaces(layout, row, column)) use(place);
      }
    }
  }
  switch (info.scaling) {
    case Scaling::kNone:
      break;
    case Scaling::kTensor:
      use_numbers(layout.side_position_offset_bytes, layout.side_count, 4);
      use_numbers(layout.side_value_offset_bytes, layout.side_count, 2);
      break;
    case Scaling::kRow:
      use_numbers(layout.scale_offset_bytes, layout.rows, 2);
      break;
    case Scaling::kBlock32:
      use_numbers(layout.scale_offset_bytes, layout.rows * ((layout.columns + 31) / 32), 2);
      break;
    case Scaling::kBlock64:
      use_numbers(layout.scale_offset_bytes, (weights + 16383) / 16384, 4);
      use_numbers(layout.block_scale_offset_bytes, (weights + 63) / 64, 1);
      break;
  }
  return uses;
}

TEST(CodecReferenceTensorTest, UsesNoBitTwiceAndLeavesAllOthersZero) {
  for (const FormatInfo& info : kFormats) {
    for (const auto& [rows, columns] : kShapes) {
      const PackedLayout layout = TestLayout(info, rows, columns);
      const std::vector<uint8_t> packed = EncodeTensor(layout, TestWeights(rows, columns));
      ASSERT_EQ(static_cast<int64_t>(packed.size()), layout.total_bytes);
      const std::vector<int> uses = CountUses(layout);
      for (int64_t bit = 0; bit < layout.total_bytes * 8; ++bit) {
        ASSERT_LE(uses[bit], 1) << info.name << " " << rows << " x " << columns << ", bit " << bit;
        if (uses[bit] == 0) {
          ASSERT_EQ(BitsAt(packed, BitRange{bit, 1}), 0u)
              << info.name << " " << rows << " x " << columns << ", bit " << bit;
        }
      }
    }
  }
}

// S of a weight, by the words of FORMATS.md.
float ScaleAt(const PackedLayout& layout, const std::vector<uint8_t>& packed, int64_t row,
              int64_t column) {
  const Scaling scaling = InfoOf(layout.format).scaling;
  if (scaling == Scaling::kTensor) return std::exp2f(15.0f - layout.exponent_bias);
  const int64_t index =
      scaling == Scaling::kRow ? row : row * ((layout.columns + 31) / 32) + column / 32;
  const BitRange place{(layout.scale_offset_bytes + 2 * index) * 8, 16};
  return static_cast<float>(ValueOfFp16(static_cast<uint16_t>(BitsAt(packed, place))));
}

TEST(CodecReferenceTensorTest, DecodesEachWeightFromItsOwnBits) {
  for (const FormatInfo& info : kFormats) {
    if (info.family == FormatFamily::kNormalFloat) continue;  // see their own test
    for (const auto& [rows, columns] : kShapes) {
      const PackedLayout layout = TestLayout(info, rows, columns);
      const std::vector<uint16_t> fp16 = TestWeights(rows, columns);
      const std::vector<uint8_t> packed = EncodeTensor(layout, fp16);
      const std::vector<uint16_t> decoded = DecodeTensor(layout, packed);
      ASSERT_EQ(decoded.size(), fp16.size());
      for (int64_t i = 0; i < rows * columns; ++i) {
        const int64_t row = i / columns;
        const int64_t column = i % columns;
        const uint16_t raw = DecodeCode(info.format, CodeAt(layout, packed, row, column));
        uint16_t wanted = raw;
        if (info.scaling != Scaling::kNone) {
          const float product =
              static_cast<float>(ValueOfFp16(raw)) * ScaleAt(layout, packed, row, column);
          wanted = Fp16OfValue(product);
        }
        const bool is_listed =
            info.scaling == Scaling::kTensor && (i == 0 || i == rows * columns - 1);
        ASSERT_EQ(decoded[i], is_listed ? fp16[i] : wanted) << info.name << " " << i;
      }
    }
  }
}

TEST(CodecReferenceTensorTest, StaysNearTheWeights) {
  for (const FormatInfo& info : kFormats) {
    for (const auto& [rows, columns] : kShapes) {
      const PackedLayout layout = TestLayout(info, rows, columns);
      const std::vector<uint16_t> fp16 = TestWeights(rows, columns);
      const std::vector<uint16_t> decoded = DecodeTensor(layout, EncodeTensor(layout, fp16));
      // Of nf2.81 the widest step is half the largest weight.
      const double step = info.family == FormatFamily::kNormalFloat ? 0.19 : 0.04;
      for (size_t i = 0; i < fp16.size(); ++i) {
        ASSERT_NEAR(ValueOfFp16(decoded[i]), ValueOfFp16(fp16[i]), step) << info.name << " " << i;
      }
    }
  }
}

TEST(CodecReferenceTensorTest, KeepsTheSignOfZeroWhereCodesHaveOne) {
  for (const FormatInfo& info : kFormats) {
    const bool has_sign =
        info.family != FormatFamily::kInteger && info.family != FormatFamily::kNormalFloat;
    const std::vector<uint16_t> fp16 = {0x3400, 0x8000, 0x0000, 0x8000};
    const PackedLayout layout = LayoutOf(info.format, 1, 4);
    const std::vector<uint16_t> decoded = DecodeTensor(layout, EncodeTensor(layout, fp16));
    EXPECT_EQ(decoded[1] != decoded[2], has_sign) << info.name;
    if (has_sign) {
      EXPECT_EQ(decoded[1], 0x8000) << info.name;
    }
  }
}

}  // namespace
}  // namespace tightfit::reference
