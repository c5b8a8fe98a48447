// The reference's numbers and codes, against golden tables and definitions written down anew.
#include "kernels/codec_reference.h"

#include "tests/unit/kernels/reference_probe.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace tightfit::reference {
namespace {

constexpr uint32_t kNone = 0xFFFF;  // in the golden tables: not representable

uint32_t EncodedOrNone(WeightFormat format, uint32_t fp16) {
  return EncodePattern(format, static_cast<uint16_t>(fp16)).value_or(kNone);
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
  EXPECT_EQ(ValueOfFp16(0xFC00), -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(ValueOfFp16(0x7E00)));
}

TEST(CodecReferenceTest, RoundsToTheNearerOfEveryTwoFp16Neighbours) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (uint32_t below = 0; below < 0x7C00; ++below) {
    const double low = ValueOfFp16(static_cast<uint16_t>(below));
    const double high = below == 0x7BFF ? 65536.0 : ValueOfFp16(static_cast<uint16_t>(below + 1));
    ASSERT_LT(low, high);
    const double middle = (low + high) / 2;
    const uint32_t even = below % 2 == 0 ? below : below + 1;
    ASSERT_EQ(Fp16OfValue(low), below);
    ASSERT_EQ(Fp16OfValue(std::nextafter(middle, 0.0)), below);
    ASSERT_EQ(Fp16OfValue(middle), even);
    ASSERT_EQ(Fp16OfValue(std::nextafter(middle, kInfinity)), below + 1);
    ASSERT_EQ(Fp16OfValue(-middle), even + 0x8000);
  }
  EXPECT_EQ(Fp16OfValue(0.0), 0x0000);
  EXPECT_EQ(Fp16OfValue(-0.0), 0x8000);
  EXPECT_EQ(Fp16OfValue(-1e-30), 0x8000);
  EXPECT_EQ(Fp16OfValue(1e30), 0x7C00);
  EXPECT_EQ(Fp16OfValue(-kInfinity), 0xFC00);
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

TEST(CodecReferenceTest, DecodesEveryHfCodeAsTheGoldenTable) {
  for (const FormatInfo& info : kFormats) {
    if (info.family != FormatFamily::kHf) continue;
    const std::vector<uint16_t> golden = ReadGoldenTable(info.name, "decode", CodeCount(info));
    for (uint32_t code = 0; code < golden.size(); ++code) {
      ASSERT_EQ(DecodeCode(info.format, code), golden[code]) << info.name << " code " << code;
    }
  }
}

TEST(CodecReferenceTest, EncodesEveryPatternIntoHfAsTheGoldenTable) {
  for (const FormatInfo& info : kFormats) {
    if (info.family != FormatFamily::kHf) continue;
    const std::vector<uint16_t> golden = ReadGoldenTable(info.name, "encode", 65536);
    for (uint32_t fp16 = 0; fp16 < golden.size(); ++fp16) {
      ASSERT_EQ(EncodedOrNone(info.format, fp16), golden[fp16])
          << info.name << " fp16 " << std::hex << fp16;
    }
  }
}

// OCP 8-bit Floating Point Specification 1.0, E4M3: bias 7, S.1111.111 is NaN. The magnitudes of
// codes 0 .. 0x7E in steps of the smallest, 2^-9.
int Fp8Steps(uint32_t code) {
  const uint32_t exponent = code / 8;
  const uint32_t mantissa = code % 8;
  return static_cast<int>(exponent == 0 ? mantissa : (8 + mantissa) << (exponent - 1));
}

TEST(CodecReferenceTest, DecodesFp8AsTheOcpSpecificationSays) {
  constexpr WeightFormat kFormat = WeightFormat::kFp8E4m3;
  for (uint32_t code = 0; code < 0x7F; ++code) {
    const double value = std::ldexp(Fp8Steps(code), -9);
    ASSERT_EQ(ValueOfFp16(DecodeCode(kFormat, code)), value) << code;
    ASSERT_EQ(DecodeCode(kFormat, code + 0x80), DecodeCode(kFormat, code) + 0x8000) << code;
  }
  EXPECT_EQ(ValueOfFp16(DecodeCode(kFormat, 0x01)), std::ldexp(1.0, -9));  // smallest subnormal
  EXPECT_EQ(ValueOfFp16(DecodeCode(kFormat, 0x07)), std::ldexp(7.0, -9));  // largest subnormal
  EXPECT_EQ(ValueOfFp16(DecodeCode(kFormat, 0x08)), std::ldexp(1.0, -6));  // smallest normal
  EXPECT_EQ(ValueOfFp16(DecodeCode(kFormat, 0x38)), 1.0);
  EXPECT_EQ(ValueOfFp16(DecodeCode(kFormat, 0xFE)), -448.0);
  EXPECT_EQ(DecodeCode(kFormat, 0x7F), 0x7E00);
  EXPECT_EQ(DecodeCode(kFormat, 0xFF), 0xFE00);
}

TEST(CodecReferenceTest, EncodesEveryPatternIntoTheNearestFp8) {
  constexpr WeightFormat kFormat = WeightFormat::kFp8E4m3;
  for (uint32_t fp16 = 0; fp16 < 0x7C00; ++fp16) {
    const double wanted = ValueOfFp16(static_cast<uint16_t>(fp16));
    uint32_t nearest = 0;
    double least = wanted;
    for (uint32_t code = 1; code < 0x7F; ++code) {
      const double distance = std::abs(std::ldexp(Fp8Steps(code), -9) - wanted);
      if (distance < least || (distance == least && code % 2 == 0)) {
        nearest = code;
        least = distance;
      }
    }
    ASSERT_EQ(EncodedOrNone(kFormat, fp16), nearest) << std::hex << fp16;
    ASSERT_EQ(EncodedOrNone(kFormat, fp16 | 0x8000), nearest | 0x80) << std::hex << fp16;
  }
}

TEST(CodecReferenceTest, BreaksTiesOfFp8ToEvenAndSaturates) {
  const auto encode = [](double value) {
    return EncodedOrNone(WeightFormat::kFp8E4m3, Fp16OfValue(value));
  };
  EXPECT_EQ(encode(std::ldexp(1.0, -10)), 0x00u);   // of 0 and 2^-9
  EXPECT_EQ(encode(-std::ldexp(1.0, -10)), 0x80u);  // keeps its sign
  EXPECT_EQ(encode(std::ldexp(3.0, -10)), 0x02u);   // of 1 and 2 times 2^-9
  EXPECT_EQ(encode(1.0625), 0x38u);                 // of 1 and 1.125
  EXPECT_EQ(encode(1.1875), 0x3Au);                 // of 1.125 and 1.25
  EXPECT_EQ(encode(1.9375), 0x40u);                 // of 1.875 and 2: into the next binade
  EXPECT_EQ(encode(432.0), 0x7Eu);                  // of 416 and 448
  EXPECT_EQ(encode(464.0), 0x7Eu);                  // of 448 and 480, which would be NaN
  EXPECT_EQ(encode(-65504.0), 0xFEu);
  EXPECT_EQ(EncodedOrNone(WeightFormat::kFp8E4m3, 0x7C00), kNone);
  EXPECT_EQ(EncodedOrNone(WeightFormat::kFp8E4m3, 0xFE00), kNone);
}

TEST(CodecReferenceTest, EncodesEveryPatternIntoTheUpperHalfOfItsFp32) {
  for (uint32_t fp16 = 0; fp16 < 65536; ++fp16) {
    const auto value = static_cast<float>(ValueOfFp16(static_cast<uint16_t>(fp16)));
    uint32_t wanted = kNone;
    if (std::abs(value) <= 65280.0f) {
      const auto bits = std::bit_cast<uint32_t>(value);
      wanted = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    }
    ASSERT_EQ(EncodedOrNone(WeightFormat::kBf16, fp16), wanted) << std::hex << fp16;
  }
}

TEST(CodecReferenceTest, RefusesWhatBf16RoundsDownFromAboveItsLargest) {
  EXPECT_EQ(EncodedOrNone(WeightFormat::kBf16, Fp16OfValue(65280.0)), 0x477Fu);
  EXPECT_EQ(EncodedOrNone(WeightFormat::kBf16, Fp16OfValue(65312.0)), kNone);
}

TEST(CodecReferenceTest, DecodesEveryBf16CodeThatEncodingWrites) {
  for (uint32_t fp16 = 0; fp16 < 65536; ++fp16) {
    const uint32_t code = EncodedOrNone(WeightFormat::kBf16, fp16);
    if (code == kNone) continue;
    const uint16_t decoded = DecodeCode(WeightFormat::kBf16, code);
    const auto value = std::bit_cast<float>(code << 16);
    ASSERT_EQ(ValueOfFp16(decoded), value) << std::hex << code;
    ASSERT_EQ(std::signbit(ValueOfFp16(decoded)), std::signbit(value)) << std::hex << code;
  }
}

TEST(CodecReferenceTest, DecodesBf16CodesBeyondFp16AsARoundedNumber) {
  EXPECT_EQ(DecodeCode(WeightFormat::kBf16, 0x3380), 0x0001);  // 2^-24
  EXPECT_EQ(DecodeCode(WeightFormat::kBf16, 0x3300), 0x0000);  // 2^-25: a tie, to even
  EXPECT_EQ(DecodeCode(WeightFormat::kBf16, 0xB301), 0x8001);  // just above it
  EXPECT_EQ(DecodeCode(WeightFormat::kBf16, 0x4780), 0x7C00);  // 65536
  EXPECT_EQ(DecodeCode(WeightFormat::kBf16, 0xFF80), 0xFC00);
  EXPECT_EQ(DecodeCode(WeightFormat::kBf16, 0x7FC1), 0x7E00);  // NaN
  EXPECT_EQ(DecodeCode(WeightFormat::kBf16, 0xFF81), 0xFE00);
}

// The magnitude of a float's code: its field E at fp16's bias.
double RawMagnitude(const FormatInfo& info, uint32_t code) {
  const uint32_t exponent = code >> info.mantissa_bits;
  const double fraction =
      (code & ((1u << info.mantissa_bits) - 1)) / (1.0 * (1 << info.mantissa_bits));
  return exponent == 0 ? std::ldexp(fraction, -14)
                       : std::ldexp(1.0 + fraction, static_cast<int>(exponent) - 15);
}

TEST(CodecReferenceTest, GivesEveryFloatCodeTheRawOfItsFormula) {
  for (const FormatInfo& info : kFormats) {
    if (info.family != FormatFamily::kFloat) continue;
    const uint32_t sign = CodeCount(info) / 2;
    for (uint32_t code = 0; code < sign; ++code) {
      const double magnitude = RawMagnitude(info, code);
      ASSERT_EQ(ValueOfFp16(DecodeCode(info.format, code)), magnitude) << info.name << code;
      ASSERT_EQ(DecodeCode(info.format, code + sign), DecodeCode(info.format, code) + 0x8000)
          << info.name << code;
    }
  }
  // The largest raw of section 2.
  EXPECT_EQ(RawMagnitude(InfoOf(WeightFormat::kE2m3), 0x1F), std::ldexp(1.875, -12));
  EXPECT_EQ(RawMagnitude(InfoOf(WeightFormat::kE2m5r), 0x7F), std::ldexp(1.96875, -12));
  EXPECT_EQ(RawMagnitude(InfoOf(WeightFormat::kE3m4), 0x7F), std::ldexp(1.9375, -8));
  EXPECT_EQ(RawMagnitude(InfoOf(WeightFormat::kE4m3), 0x7F), 1.875);
  EXPECT_EQ(RawMagnitude(InfoOf(WeightFormat::kE3m6r), 0x1FF), std::ldexp(1.984375, -8));
  EXPECT_EQ(RawMagnitude(InfoOf(WeightFormat::kE3m8), 0x7FF), std::ldexp(1.99609375, -8));
}

// The raw numbers ascend with the code, so the middles of neighbours are all the borders there are.
TEST(CodecReferenceTest, PicksTheNearestFloatOnBothSidesOfEveryBorder) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const FormatInfo& info : kFormats) {
    if (info.family != FormatFamily::kFloat) continue;
    const uint32_t sign = CodeCount(info) / 2;
    for (uint32_t code = 0; code + 1 < sign; ++code) {
      const double low = RawMagnitude(info, code);
      const double high = RawMagnitude(info, code + 1);
      ASSERT_LT(low, high);
      const auto middle = static_cast<float>((low + high) / 2);
      const uint32_t even = code % 2 == 0 ? code : code + 1;
      ASSERT_EQ(NearestRawCode(info.format, static_cast<float>(low)), code) << info.name;
      ASSERT_EQ(NearestRawCode(info.format, std::nextafter(middle, 0.0f)), code) << info.name;
      ASSERT_EQ(NearestRawCode(info.format, middle), even) << info.name;
      ASSERT_EQ(NearestRawCode(info.format, std::nextafter(middle, kInfinity)), code + 1);
      ASSERT_EQ(NearestRawCode(info.format, -middle), even + sign) << info.name;
    }
    EXPECT_EQ(NearestRawCode(info.format, 1e9f), sign - 1) << info.name;
    EXPECT_EQ(NearestRawCode(info.format, -1e9f), 2 * sign - 1) << info.name;
    EXPECT_EQ(NearestRawCode(info.format, 0.0f), 0u) << info.name;
    EXPECT_EQ(NearestRawCode(info.format, -0.0f), sign) << info.name;
    EXPECT_EQ(NearestRawCode(info.format, -1e-30f), sign) << info.name;
  }
}

TEST(CodecReferenceTest, ReadsIntegerCodesAs128thsInTwosComplement) {
  for (const WeightFormat format : {WeightFormat::kQ8, WeightFormat::kQ8b32}) {
    for (int integer = -128; integer <= 127; ++integer) {
      const auto code = static_cast<uint32_t>(integer < 0 ? integer + 256 : integer);
      ASSERT_EQ(ValueOfFp16(DecodeCode(format, code)), integer / 128.0) << integer;
    }
    EXPECT_EQ(DecodeCode(format, 0), 0x0000);
    EXPECT_EQ(DecodeCode(format, 0x80), 0xBC00);  // -128, which encoding never writes
  }
}

TEST(CodecReferenceTest, PicksTheNearestIntegerAndTheEvenOneOfTwo) {
  constexpr WeightFormat kFormat = WeightFormat::kQ8;
  const auto code = [](double integer) {
    return NearestRawCode(kFormat, static_cast<float>(integer / 128.0));
  };
  for (int integer = -127; integer <= 127; ++integer) {
    ASSERT_EQ(code(integer), static_cast<uint32_t>(integer) & 0xFF);
    ASSERT_EQ(code(integer - 0.4375), static_cast<uint32_t>(integer) & 0xFF);
    ASSERT_EQ(code(integer + 0.4375), static_cast<uint32_t>(integer) & 0xFF);
  }
  EXPECT_EQ(code(0.5), 0u);
  EXPECT_EQ(code(1.5), 2u);
  EXPECT_EQ(code(-0.5), 0u);  // -0 becomes +0
  EXPECT_EQ(code(-1.5), 0xFEu);
  EXPECT_EQ(code(-2.5), 0xFEu);
  EXPECT_EQ(code(-0.0), 0u);
  EXPECT_EQ(code(127.75), 127u);
  EXPECT_EQ(code(-128.0), 0x81u);
  EXPECT_EQ(code(1e6), 127u);
}

}  // namespace
}  // namespace tightfit::reference
