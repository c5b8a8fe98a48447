#include "kernels/codec_reference.h"

#include "tests/unit/kernels/packed_tensor_probe.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tightfit::reference {
namespace {

TEST(CodecReferenceTest, DecodesEveryCodeAsTheGoldenTable) {
  for (const FormatInfo& info : kFormats) {
    const std::vector<uint16_t> golden = GoldenDecode(info.format);
    for (uint32_t code = 0; code < golden.size(); ++code) {
      ASSERT_EQ(DecodeCode(info.format, code), golden[code]) << info.name << " code " << code;
    }
  }
}

TEST(CodecReferenceTest, EncodesEveryPatternAsTheGoldenTable) {
  for (const FormatInfo& info : kFormats) {
    const std::vector<uint16_t> golden = GoldenEncode(info.format);
    for (uint32_t fp16 = 0; fp16 < golden.size(); ++fp16) {
      ASSERT_EQ(EncodePattern(info.format, static_cast<uint16_t>(fp16)).value_or(kNotRepresentable),
                golden[fp16])
          << info.name << " fp16 " << std::hex << fp16;
    }
  }
}

// The patterns are those of IEEE 754-2019, table 3.5 (binary16), written out by hand.
TEST(CodecReferenceTest, ReadsFp16Patterns) {
  EXPECT_EQ(ValueOfFp16(0x0001), std::ldexp(1.0, -24));
  EXPECT_EQ(ValueOfFp16(0x03FF), std::ldexp(1023.0, -24));
  EXPECT_EQ(ValueOfFp16(0x0400), std::ldexp(1.0, -14));
  EXPECT_EQ(ValueOfFp16(0x3555), 0.333251953125);
  EXPECT_EQ(ValueOfFp16(0xBC00), -1.0);
  EXPECT_EQ(ValueOfFp16(0x7BFF), 65504.0);
  EXPECT_EQ(ValueOfFp16(0x8000), 0.0);
  EXPECT_TRUE(std::signbit(ValueOfFp16(0x8000)));
}

TEST(CodecReferenceTest, RoundsBf16ToNearestEven) {
  EXPECT_EQ(Bf16OfFp16(0x3C00), 0x3F80);  // 1
  EXPECT_EQ(Bf16OfFp16(0x3C04), 0x3F80);  // 1 + 2^-8: a tie, down to even
  EXPECT_EQ(Bf16OfFp16(0x3C05), 0x3F81);  // just above it
  EXPECT_EQ(Bf16OfFp16(0x3C0C), 0x3F82);  // 1 + 3 * 2^-8: a tie, up to even
  EXPECT_EQ(Bf16OfFp16(0xBFFF), 0xC000);  // -1.999 carries into the exponent
  EXPECT_EQ(Bf16OfFp16(0x0001), 0x3380);  // 2^-24
  EXPECT_EQ(Bf16OfFp16(0x8000), 0x8000);
}

}  // namespace
}  // namespace tightfit::reference
