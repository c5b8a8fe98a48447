#include "client/weights/fp16_rounding.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

namespace tightfit::weights {
namespace {

// By the definition of binary16.
float ValueOf(uint16_t magnitude) {
  const int field = magnitude >> 10;
  const int mantissa = magnitude & 0x3FF;
  return static_cast<float>(field == 0 ? std::ldexp(mantissa, -24)
                                       : std::ldexp(1024 + mantissa, field - 25));
}

uint16_t Rounded(float value) {
  uint8_t bytes[4];
  std::memcpy(bytes, &value, 4);
  uint16_t out = 0;
  RoundToFp16(StoredDtype::kF32, bytes, {&out, 1});
  return out;
}

TEST(Fp16RoundingTest, OfFp32GoesToTheNearestAndFromTheMiddleToTheEven) {
  for (uint16_t lower = 0; lower < 0x7BFF; ++lower) {
    const uint16_t upper = lower + 1;
    const float middle = (ValueOf(lower) + ValueOf(upper)) / 2;  // exact in fp32
    ASSERT_EQ(Rounded(ValueOf(lower)), lower);
    ASSERT_EQ(Rounded(-ValueOf(lower)), lower | 0x8000);
    ASSERT_EQ(Rounded(middle), lower % 2 == 0 ? lower : upper) << lower;
    ASSERT_EQ(Rounded(std::nextafter(middle, 0.0f)), lower);
    ASSERT_EQ(Rounded(std::nextafter(middle, 1e30f)), upper);
    ASSERT_EQ(Rounded(-std::nextafter(middle, 1e30f)), upper | 0x8000);
  }
}

TEST(Fp16RoundingTest, OfFp32BeyondFp16IsInfinite) {
  EXPECT_EQ(Rounded(65504.0f), 0x7BFF);
  EXPECT_EQ(Rounded(std::nextafter(65520.0f, 0.0f)), 0x7BFF);
  EXPECT_EQ(Rounded(65520.0f), 0x7C00);
  EXPECT_EQ(Rounded(-3e38f), 0xFC00);
  EXPECT_EQ(Rounded(std::bit_cast<float>(0x7F800000)), 0x7C00);
  EXPECT_EQ(Rounded(std::bit_cast<float>(0x7FC00000)), 0x7E00);
  EXPECT_EQ(Rounded(std::bit_cast<float>(0xFF800001)), 0xFE00);
  EXPECT_EQ(Rounded(std::bit_cast<float>(0x00000001)), 0x0000);  // fp32's smallest
  EXPECT_EQ(Rounded(-0.0f), 0x8000);
}

TEST(Fp16RoundingTest, OfBf16IsThatOfTheSameNumberInFp32) {
  for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const auto bf16 = static_cast<uint16_t>(pattern);
    uint8_t bytes[2];
    std::memcpy(bytes, &bf16, 2);
    uint16_t out = 0;
    RoundToFp16(StoredDtype::kBF16, bytes, {&out, 1});
    ASSERT_EQ(out, Rounded(std::bit_cast<float>(pattern << 16))) << pattern;
  }
}

TEST(Fp16RoundingTest, OfFp16ChangesNothing) {
  const std::vector<uint16_t> weights = {0, 1, 0x8000, 0x7E01, 0xFC00, 0x3C00};
  std::vector<uint8_t> bytes(weights.size() * 2);
  std::memcpy(bytes.data(), weights.data(), bytes.size());
  std::vector<uint16_t> out(weights.size());
  RoundToFp16(StoredDtype::kF16, bytes, out);
  EXPECT_EQ(out, weights);
}

}  // namespace
}  // namespace tightfit::weights
