#include "kernels/codec.h"
#include "tests/unit/kernels/packed_tensor_probe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace tightfit {
namespace {

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
}

TEST(PackedLayoutTest, IsEmptyWithoutRowsOrColumns) {
  for (const FormatInfo& info : kFormats) {
    EXPECT_EQ(LayoutOf(info.format, 0, 1280).total_bytes, 0) << info.name;
    EXPECT_EQ(LayoutOf(info.format, 1280, 0).total_bytes, 0) << info.name;
  }
}

TEST(PackedLayoutTest, KeepsRowsOfBothPlanesOnBordersOf16Bytes) {
  for (const FormatInfo& info : kFormats) {
    for (int64_t columns = 0; columns < 300; ++columns) {
      const PackedLayout layout = LayoutOf(info.format, 3, columns);
      EXPECT_EQ(layout.low_row_bytes % 16, 0) << info.name << " " << columns;
      EXPECT_EQ(layout.high_row_bytes % 16, 0) << info.name << " " << columns;
      EXPECT_EQ(layout.high_plane_offset_bytes % 16, 0) << info.name << " " << columns;
    }
  }
}

struct Shape {
  int64_t rows;
  int64_t columns;
};

// Weights of the SDXL UNet, convolutions as rows of kernel height * kernel width * channels.
TEST(PackedLayoutTest, StoresSdxlShapesInTheirBitsPerWeight) {
  const Shape shapes[] = {{1280, 1280},  {10240, 1280}, {1280, 5120}, {1280, 2048}, {640, 2048},
                          {640, 640},    {5120, 640},   {640, 2560},  {320, 2880},  {640, 5760},
                          {1280, 11520}, {1280, 23040}, {1280, 2816}, {320, 320},   {4, 2880}};
  for (const FormatInfo& info : kFormats) {
    for (const Shape shape : shapes) {
      const PackedLayout layout = LayoutOf(info.format, shape.rows, shape.columns);
      const double bits = static_cast<double>(shape.rows * shape.columns) * info.bits;
      EXPECT_NEAR(static_cast<double>(layout.total_bytes) * 8 / bits, 1.0, 0.005)
          << info.name << " " << shape.rows << " x " << shape.columns;
    }
  }
}

TEST(PackedLayoutTest, PadsTheNarrowInputConvolutionByWhatFormatsMdSays) {
  // conv_in: 4 channels * 3 * 3 = 36 columns.
  EXPECT_EQ(LayoutOf(WeightFormat::kHf8, 320, 36).total_bytes, 320 * 48);
  EXPECT_EQ(LayoutOf(WeightFormat::kHf10, 320, 36).total_bytes, 320 * (48 + 16));
  EXPECT_EQ(LayoutOf(WeightFormat::kHf12, 320, 36).total_bytes, 320 * (48 + 32));
}

// The worked examples of kernels/FORMATS.md, byte for byte.
TEST(PackedLayoutTest, MatchesTheWorkedExampleOfHf12) {
  // 0.5, -0.75, then 2^-5 * 1.5 at place 8, then zeros.
  std::vector<uint16_t> fp16(16);
  fp16[0] = 0x3800;
  fp16[1] = 0xBA00;
  fp16[8] = 0x2A00;
  const PackedLayout layout = LayoutOf(WeightFormat::kHf12, 1, 16);
  const std::vector<uint8_t> packed = Pack(layout, fp16);
  std::vector<uint8_t> wanted(32);
  wanted[0] = 0x07;
  wanted[1] = 0x87;
  wanted[8] = 0x80;
  wanted[16] = 0x70;  // place 0: 0, place 8: 7
  wanted[17] = 0x08;  // place 1: 8
  EXPECT_EQ(packed, wanted);
}

TEST(PackedLayoutTest, MatchesTheWorkedExampleOfHf10) {
  std::vector<uint16_t> fp16(16);
  fp16[0] = 0x3800;
  fp16[1] = 0xBA00;
  fp16[8] = 0x2A00;
  const PackedLayout layout = LayoutOf(WeightFormat::kHf10, 1, 16);
  const std::vector<uint8_t> packed = Pack(layout, fp16);
  std::vector<uint8_t> wanted(32);
  wanted[0] = 0x07;
  wanted[1] = 0x27;
  wanted[8] = 0xE0;
  wanted[16] = 0x10;  // place 0: 0, place 8: 1
  wanted[17] = 0x02;  // place 1: 2
  EXPECT_EQ(packed, wanted);
}

}  // namespace
}  // namespace tightfit
