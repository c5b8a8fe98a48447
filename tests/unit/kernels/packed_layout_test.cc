#include "kernels/packed_layout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <vector>

namespace tightfit {
namespace {

struct Shape {
  int64_t rows;
  int64_t columns;
};

TEST(PackedLayoutTest, PutsOnePlaneAfterTheOther) {
  // 3 rows of 40 weights: 48 bytes of low plane a row; 3 groups of 4 or 8 bytes, padded to 16
  // or 32.
  const PackedLayout hf8 = LayoutOf(WeightFormat::kHf8, 3, 40);
  EXPECT_EQ(hf8.low_row_bytes, 48);
  EXPECT_EQ(hf8.high_row_bytes, 0);
  EXPECT_EQ(hf8.total_bytes, 144);

  const PackedLayout hf10 = LayoutOf(WeightFormat::kHf10, 3, 40);
  EXPECT_EQ(hf10.low_row_bytes, 48);
  EXPECT_EQ(hf10.high_row_bytes, 16);
  EXPECT_EQ(hf10.high_plane_offset_bytes, 144);
  EXPECT_EQ(hf10.total_bytes, 192);

  const PackedLayout hf12 = LayoutOf(WeightFormat::kHf12, 3, 40);
  EXPECT_EQ(hf12.low_row_bytes, 48);
  EXPECT_EQ(hf12.high_row_bytes, 32);
  EXPECT_EQ(hf12.high_plane_offset_bytes, 144);
  EXPECT_EQ(hf12.total_bytes, 240);

  // 4 bits and 2: 24 bytes and 12, padded.
  const PackedLayout e2m3 = LayoutOf(WeightFormat::kE2m3, 3, 40);
  EXPECT_EQ(e2m3.low_row_bytes, 32);
  EXPECT_EQ(e2m3.high_row_bytes, 16);
  EXPECT_EQ(e2m3.high_plane_offset_bytes, 96);
  EXPECT_EQ(e2m3.total_bytes, 144);

  const PackedLayout bf16 = LayoutOf(WeightFormat::kBf16, 3, 40);
  EXPECT_EQ(bf16.low_row_bytes, 96);
  EXPECT_EQ(bf16.high_row_bytes, 0);
  EXPECT_EQ(bf16.total_bytes, 288);
}

TEST(PackedLayoutTest, PutsScalesBehindThePlanes) {
  const PackedLayout e3m6r = LayoutOf(WeightFormat::kE3m6r, 9, 40);
  EXPECT_EQ(e3m6r.high_plane_offset_bytes, 9 * 48);
  EXPECT_EQ(e3m6r.scale_offset_bytes, 9 * (48 + 16));
  EXPECT_EQ(e3m6r.total_bytes, 9 * (48 + 16) + 32);  // 18 bytes of scales

  const PackedLayout q8b32 = LayoutOf(WeightFormat::kQ8b32, 9, 40);
  EXPECT_EQ(q8b32.scale_offset_bytes, 9 * 48);
  EXPECT_EQ(q8b32.total_bytes, 9 * 48 + 48);  // two blocks a row: 36 bytes
}

TEST(PackedLayoutTest, FlattensNormalFloats) {
  // 360 weights are 23 groups, 6 blocks, a superblock.
  const PackedLayout nf5 = LayoutOf(WeightFormat::kNf5, 9, 40);
  EXPECT_EQ(nf5.code_rows, 1);
  EXPECT_EQ(nf5.code_columns, 360);
  EXPECT_EQ(nf5.low_row_bytes, 192);  // 23 * 8 = 184
  EXPECT_EQ(nf5.high_plane_offset_bytes, 192);
  EXPECT_EQ(nf5.high_row_bytes, 48);  // 23 * 2 = 46
  EXPECT_EQ(nf5.scale_offset_bytes, 240);
  EXPECT_EQ(nf5.block_scale_offset_bytes, 256);
  EXPECT_EQ(nf5.total_bytes, 272);

  // 33 words of 31 bits: 1023 bits, 128 bytes.
  const PackedLayout nf281 = LayoutOf(WeightFormat::kNf281, 9, 40);
  EXPECT_EQ(nf281.low_row_bytes, 128);
  EXPECT_EQ(nf281.high_row_bytes, 0);
  EXPECT_EQ(nf281.scale_offset_bytes, 128);
  EXPECT_EQ(nf281.block_scale_offset_bytes, 144);
  EXPECT_EQ(nf281.total_bytes, 160);
}

TEST(PackedLayoutTest, PutsTheSideListLast) {
  const PackedLayout layout = LayoutOf(WeightFormat::kE3m4, 3, 40, 7, 5);
  EXPECT_EQ(layout.exponent_bias, 7);
  EXPECT_EQ(layout.side_count, 5);
  EXPECT_EQ(layout.side_position_offset_bytes, 144);
  EXPECT_EQ(layout.side_value_offset_bytes, 144 + 32);  // 20 bytes of positions
  EXPECT_EQ(layout.total_bytes, 144 + 32 + 16);
  EXPECT_EQ(LayoutOf(WeightFormat::kE3m4, 3, 40, 7, 0).total_bytes, 144);
}

// 10240 x 1280, by hand: codes, then scales.
TEST(PackedLayoutTest, TakesTheBytesOfEveryFormat) {
  constexpr int64_t kWeights = 10240 * 1280;
  constexpr int64_t kRowScales = 10240 * 2;
  constexpr int64_t kBlockScales = 800 * 4 + 204800;  // superblocks, blocks
  const std::map<WeightFormat, int64_t> wanted = {
      {WeightFormat::kHf8, kWeights},
      {WeightFormat::kHf8x, kWeights},
      {WeightFormat::kHf10, 16'384'000},
      {WeightFormat::kHf12, 19'660'800},
      {WeightFormat::kE2m3, 9'830'400},
      {WeightFormat::kE2m5, kWeights},
      {WeightFormat::kE3m4, kWeights},
      {WeightFormat::kE4m3, kWeights},
      {WeightFormat::kE3m6, 16'384'000},
      {WeightFormat::kE3m8, 19'660'800},
      {WeightFormat::kE2m3r, 9'830'400 + kRowScales},
      {WeightFormat::kE2m5r, kWeights + kRowScales},
      {WeightFormat::kE3m4r, kWeights + kRowScales},
      {WeightFormat::kE4m3r, kWeights + kRowScales},
      {WeightFormat::kE3m6r, 16'384'000 + kRowScales},
      {WeightFormat::kE3m8r, 19'660'800 + kRowScales},
      {WeightFormat::kQ8, kWeights + kRowScales},
      {WeightFormat::kQ8b32, kWeights + kWeights / 32 * 2},
      {WeightFormat::kNf5, 8'192'000 + kBlockScales},
      // 2,184,534 words of 28 bits are 7,645,869 bytes; to a border.
      {WeightFormat::kNf458, 7'645'872 + kBlockScales},
      {WeightFormat::kNf4, 6'553'600 + kBlockScales},
      {WeightFormat::kNf358, 5'898'240 + kBlockScales},  // 2,621,440 words of 18 bits
      // 1,191,564 words of 31 bits are 4,617,310.5 bytes.
      {WeightFormat::kNf281, 4'617'312 + kBlockScales},
      {WeightFormat::kBf16, 2 * kWeights},
      {WeightFormat::kFp8E4m3, kWeights},
  };
  ASSERT_EQ(wanted.size(), kFormats.size());
  for (const FormatInfo& info : kFormats) {
    EXPECT_EQ(LayoutOf(info.format, 10240, 1280).total_bytes, wanted.at(info.format)) << info.name;
  }
}

TEST(PackedLayoutTest, IsEmptyWithoutRowsOrColumns) {
  for (const FormatInfo& info : kFormats) {
    EXPECT_EQ(LayoutOf(info.format, 0, 1280).total_bytes, 0) << info.name;
    EXPECT_EQ(LayoutOf(info.format, 1280, 0).total_bytes, 0) << info.name;
  }
}

// Each part from its offset on, in their order; the parts that a format lacks are empty.
struct Part {
  int64_t offset;
  int64_t bytes;
};

std::vector<Part> PartsOf(const PackedLayout& layout) {
  const int64_t weights = layout.rows * layout.columns;
  std::vector<Part> parts = {
      {0, layout.code_rows * layout.low_row_bytes},
      {layout.high_plane_offset_bytes, layout.code_rows * layout.high_row_bytes}};
  switch (InfoOf(layout.format).scaling) {
    case Scaling::kNone:
      break;
    case Scaling::kTensor:
      parts.push_back({layout.side_position_offset_bytes, 4 * layout.side_count});
      parts.push_back({layout.side_value_offset_bytes, 2 * layout.side_count});
      break;
    case Scaling::kRow:
      parts.push_back({layout.scale_offset_bytes, layout.columns == 0 ? 0 : 2 * layout.rows});
      break;
    case Scaling::kBlock32:
      parts.push_back({layout.scale_offset_bytes, 2 * layout.rows * ((layout.columns + 31) / 32)});
      break;
    case Scaling::kBlock64:
      parts.push_back({layout.scale_offset_bytes, 4 * ((weights + 16383) / 16384)});
      parts.push_back({layout.block_scale_offset_bytes, (weights + 63) / 64});
      break;
  }
  return parts;
}

TEST(PackedLayoutTest, KeepsPartsAndRowsOnBordersOf16BytesAndApart) {
  for (const FormatInfo& info : kFormats) {
    for (int64_t columns = 0; columns < 300; ++columns) {
      const bool has_list = info.scaling == Scaling::kTensor;
      const PackedLayout layout = LayoutOf(info.format, 3, columns, 0, has_list ? columns / 7 : 0);
      EXPECT_EQ(layout.low_row_bytes % 16, 0) << info.name << " " << columns;
      EXPECT_EQ(layout.high_row_bytes % 16, 0) << info.name << " " << columns;
      EXPECT_EQ(layout.total_bytes % 16, 0) << info.name << " " << columns;
      int64_t end = 0;
      for (const Part& part : PartsOf(layout)) {
        EXPECT_EQ(part.offset % 16, 0) << info.name << " " << columns;
        EXPECT_EQ(part.offset, (end + 15) / 16 * 16) << info.name << " " << columns;
        end = part.offset + part.bytes;
      }
      EXPECT_EQ(layout.total_bytes, (end + 15) / 16 * 16) << info.name << " " << columns;
    }
  }
}

TEST(PackedLayoutTest, HasRoomForTheCodesOfARow) {
  for (const FormatInfo& info : kFormats) {
    for (int64_t columns = 1; columns < 300; ++columns) {
      const PackedLayout layout = LayoutOf(info.format, 3, columns);
      const double bits = info.bits * static_cast<double>(layout.code_columns);
      const int64_t row_bytes = layout.low_row_bytes + layout.high_row_bytes;
      EXPECT_GE(static_cast<double>(row_bytes) * 8, bits - 0.001) << info.name << " " << columns;
    }
  }
}

// The scales' part of a weight's bits.
double ScaleBits(const FormatInfo& info, Shape shape) {
  switch (info.scaling) {
    case Scaling::kNone:
    case Scaling::kTensor:
      return 0;
    case Scaling::kRow:
      return 16.0 / static_cast<double>(shape.columns);
    case Scaling::kBlock32:
      return 16.0 / 32;
    case Scaling::kBlock64:
      return 8.0 / 64 + 32.0 / (64 * 256);
  }
  return 0;
}

// Weights of the SDXL UNet, convolutions as rows of kernel height * kernel width * channels.
TEST(PackedLayoutTest, StoresSdxlShapesInTheirBitsPerWeight) {
  const Shape shapes[] = {{1280, 1280},  {10240, 1280}, {1280, 5120}, {1280, 2048}, {640, 2048},
                          {640, 640},    {5120, 640},   {640, 2560},  {320, 2880},  {640, 5760},
                          {1280, 11520}, {1280, 23040}, {1280, 2816}, {320, 320},   {4, 2880}};
  for (const FormatInfo& info : kFormats) {
    for (const Shape shape : shapes) {
      const PackedLayout layout = LayoutOf(info.format, shape.rows, shape.columns);
      const auto weights = static_cast<double>(shape.rows * shape.columns);
      const double nominal = weights * (info.bits + ScaleBits(info, shape)) / 8;
      // Of the smallest, borders are more than that: up to 15 bytes for each of three parts.
      EXPECT_NEAR(static_cast<double>(layout.total_bytes), nominal, nominal * 0.005 + 45)
          << info.name << " " << shape.rows << " x " << shape.columns;
    }
  }
}

TEST(PackedLayoutTest, PadsTheNarrowInputConvolutionByWhatFormatsMdSays) {
  // conv_in: 4 channels * 3 * 3 = 36 columns.
  EXPECT_EQ(LayoutOf(WeightFormat::kHf8, 320, 36).total_bytes, 320 * 48);
  EXPECT_EQ(LayoutOf(WeightFormat::kHf10, 320, 36).total_bytes, 320 * (48 + 16));
  EXPECT_EQ(LayoutOf(WeightFormat::kHf12, 320, 36).total_bytes, 320 * (48 + 32));
  EXPECT_EQ(LayoutOf(WeightFormat::kHf8, 8, 3).total_bytes, 128);
  EXPECT_EQ(LayoutOf(WeightFormat::kHf10, 8, 3).total_bytes, 256);
  EXPECT_EQ(LayoutOf(WeightFormat::kHf12, 8, 3).total_bytes, 256);
}

TEST(PackedLayoutTest, TakesShapesWhosePositionsFit32Bits) {
  EXPECT_TRUE(IsPackableShape(0, 0));
  EXPECT_TRUE(IsPackableShape(1, 4294967295));
  EXPECT_TRUE(IsPackableShape(65535, 65537));
  EXPECT_TRUE(IsPackableShape(4294967295, 0));
  EXPECT_FALSE(IsPackableShape(65536, 65536));
  EXPECT_FALSE(IsPackableShape(4294967296, 0));
  EXPECT_FALSE(IsPackableShape(0, 4294967296));
  EXPECT_FALSE(IsPackableShape(-1, 5));
  EXPECT_FALSE(IsPackableShape(5, -1));
}

TEST(EncodeBlockTest, IsARowOrWholeSuperblocksThatEndOnAByte) {
  for (const FormatInfo& info : kFormats) {
    const PackedLayout layout = LayoutOf(info.format, 1000, 777);
    const int64_t block = EncodeBlockWeights(layout);
    if (info.family != FormatFamily::kNormalFloat) {
      EXPECT_EQ(block, 777) << info.name;
      EXPECT_EQ(EncodeBlockCount(layout), 1000) << info.name;
      continue;
    }
    EXPECT_EQ(block % 16384, 0) << info.name;
    EXPECT_EQ(EncodeBlockCount(layout), (777'000 + block - 1) / block) << info.name;
    if (const RadixWord word = RadixWordOf(info); word.digits != 0) {
      EXPECT_EQ(block % word.digits, 0) << info.name;
      EXPECT_EQ(block / word.digits * word.bits % 8, 0) << info.name;
    }
  }
}

TEST(EncodeBlockTest, IsNoneInATensorWithoutWeights) {
  for (const FormatInfo& info : kFormats) {
    for (const Shape shape : {Shape{0, 0}, Shape{0, 5}, Shape{5, 0}}) {
      EXPECT_EQ(EncodeBlockCount(LayoutOf(info.format, shape.rows, shape.columns)), 0) << info.name;
    }
  }
}

TEST(RadixWordTest, TakesTheFewestBitsThatHoldItsDigits) {
  for (const FormatInfo& info : kFormats) {
    const RadixWord word = RadixWordOf(info);
    if (word.digits == 0) {
      EXPECT_NE(info.low_plane_bits, 0) << info.name;
      continue;
    }
    EXPECT_EQ(info.low_plane_bits + info.high_plane_bits, 0) << info.name;
    const double bits = word.digits * std::log2(info.level_count);
    EXPECT_LE(bits, word.bits) << info.name;
    EXPECT_GT(bits, word.bits - 1) << info.name;
    EXPECT_DOUBLE_EQ(info.bits, static_cast<double>(word.bits) / word.digits) << info.name;
  }
}

}  // namespace
}  // namespace tightfit
