#include "kernels/codec_reference.h"

#include <bit>
#include <cmath>
#include <cstdlib>

namespace tightfit::reference {
namespace {

// How the bits of a code are read, most significant first: sign, index, fraction.
struct CodeFields {
  bool negative;
  uint32_t index;     // 3 bits of the HF codes, 4 exponent bits of hf8x
  uint32_t fraction;  // the rest
  int fraction_bits;
};

CodeFields Split(WeightFormat format, uint32_t code) {
  const int bits = InfoOf(format).bits;
  const int index_bits = format == WeightFormat::kHf8x ? 4 : 3;
  const int fraction_bits = bits - 1 - index_bits;
  return {
      .negative = (code >> (bits - 1) & 1) != 0,
      .index = code >> fraction_bits & ((1u << index_bits) - 1),
      .fraction = code & ((1u << fraction_bits) - 1),
      .fraction_bits = fraction_bits,
  };
}

bool IsWide(WeightFormat format, const CodeFields& fields) {
  return format != WeightFormat::kHf8x && fields.index == 0;
}

// The mantissa bits that a code keeps, as a number: its parity decides ties.
uint32_t KeptMantissa(WeightFormat format, const CodeFields& fields) {
  return IsWide(format, fields) ? fields.fraction >> 3 : fields.fraction;
}

// |x| in units of 2^-24, the smallest fp16 subnormal: every finite fp16 is a whole number of them.
int64_t MagnitudeInUnits(uint16_t fp16) {
  const int exponent = fp16 >> 10 & 31;
  const int64_t mantissa = fp16 & 1023;
  return exponent == 0 ? mantissa : (1024 + mantissa) << (exponent - 1);
}

}  // namespace

uint16_t DecodeCode(WeightFormat format, uint32_t code) {
  const CodeFields fields = Split(format, code);
  uint32_t exponent;
  uint32_t mantissa;
  if (format == WeightFormat::kHf8x) {
    exponent = fields.index;
    mantissa = fields.fraction << 7;
  } else if (fields.index != 0) {
    exponent = fields.index + 3;
    mantissa = fields.fraction << (10 - fields.fraction_bits);
  } else {
    const uint32_t selector = fields.fraction & 7;
    exponent = selector < 4 ? selector : selector + 7;
    mantissa = (fields.fraction >> 3) << (10 - (fields.fraction_bits - 3));
  }
  return static_cast<uint16_t>((fields.negative ? 0x8000u : 0u) | exponent << 10 | mantissa);
}

std::optional<uint32_t> EncodePattern(WeightFormat format, uint16_t fp16) {
  if ((fp16 & 0x7C00) == 0x7C00) return std::nullopt;
  if (std::abs(ValueOfFp16(fp16)) > InfoOf(format).max_value) return std::nullopt;

  // Codes of one sign mirror those of the other, so the search runs over magnitudes alone and the
  // sign, that of a zero too, is put back. Two codes at the same distance are neighbours: within a
  // binade their kept mantissas differ by one, at its end all ones meet zero; one of them is even.
  const uint32_t sign_bit = 1u << (InfoOf(format).bits - 1);
  const int64_t wanted = MagnitudeInUnits(fp16);
  uint32_t best_code = 0;
  int64_t best_distance = wanted;
  for (uint32_t code = 1; code < sign_bit; ++code) {
    const int64_t distance = std::abs(MagnitudeInUnits(DecodeCode(format, code)) - wanted);
    const bool even = KeptMantissa(format, Split(format, code)) % 2 == 0;
    if (distance < best_distance || (distance == best_distance && even)) {
      best_code = code;
      best_distance = distance;
    }
  }
  return (fp16 & 0x8000) != 0 ? best_code | sign_bit : best_code;
}

double ValueOfFp16(uint16_t fp16) {
  const double magnitude = std::ldexp(static_cast<double>(MagnitudeInUnits(fp16)), -24);
  return (fp16 & 0x8000) != 0 ? -magnitude : magnitude;
}

uint16_t Bf16OfFp16(uint16_t fp16) {
  // Every fp16 value is an fp32 normal or zero, so the upper half of its pattern is bf16 and the
  // lower half tells how far away the next one is.
  const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(ValueOfFp16(fp16)));
  const uint32_t below = bits >> 16;
  const uint32_t rest = bits & 0xFFFF;
  const bool up = rest > 0x8000 || (rest == 0x8000 && below % 2 == 1);
  return static_cast<uint16_t>(up ? below + 1 : below);
}

}  // namespace tightfit::reference
