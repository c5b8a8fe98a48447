#include "kernels/codec_reference.h"

#include "kernels/codec_reference_parts.h"

#include <hwy/base.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace tightfit::reference {
namespace {

bool IsFinite(uint16_t fp16) { return (fp16 & 0x7C00) != 0x7C00; }

bool IsNegative(uint16_t fp16) { return (fp16 & 0x8000) != 0; }

uint16_t QuietNan(bool negative) { return negative ? 0xFE00 : 0x7E00; }

// fp16 and bf16 patterns are put together from sign, exponent field and mantissa.
uint16_t Fp16Pattern(bool negative, uint32_t exponent, uint32_t mantissa) {
  return static_cast<uint16_t>((negative ? 0x8000u : 0u) | exponent << 10 | mantissa);
}

uint32_t SignBit(const FormatInfo& info) { return CodeCount(info) / 2; }

// How the bits of a code are read, most significant first: sign, exponent, mantissa. Of HF the
// exponent is the field EEE (hf8x: EEEE) and the mantissa f.
struct CodeFields {
  bool negative;
  uint32_t exponent;
  uint32_t mantissa;
};

CodeFields Split(const FormatInfo& info, uint32_t code) {
  return {
      .negative = (code & SignBit(info)) != 0,
      .exponent = code >> info.mantissa_bits & ((1u << info.exponent_bits) - 1),
      .mantissa = code & ((1u << info.mantissa_bits) - 1),
  };
}

// HF's codes with EEE = 0: three bits of f are a selector.
bool IsCoarse(const FormatInfo& info, const CodeFields& fields) {
  return info.family == FormatFamily::kHf && info.format != WeightFormat::kHf8x &&
         fields.exponent == 0;
}

// The mantissa bits that a code keeps, as a number: its parity decides ties.
uint32_t KeptMantissa(const FormatInfo& info, uint32_t code) {
  const CodeFields fields = Split(info, code);
  return IsCoarse(info, fields) ? fields.mantissa >> 3 : fields.mantissa;
}

uint16_t DecodeHf(const FormatInfo& info, uint32_t code) {
  const CodeFields fields = Split(info, code);
  const int mantissa_bits = info.mantissa_bits;
  if (info.format == WeightFormat::kHf8x) {
    return Fp16Pattern(fields.negative, fields.exponent, fields.mantissa << (10 - mantissa_bits));
  }
  if (!IsCoarse(info, fields)) {
    return Fp16Pattern(fields.negative, fields.exponent + 3,
                       fields.mantissa << (10 - mantissa_bits));
  }
  const uint32_t selector = fields.mantissa & 7;
  const uint32_t exponent = selector < 4 ? selector : selector + 7;
  return Fp16Pattern(fields.negative, exponent, (fields.mantissa >> 3) << (13 - mantissa_bits));
}

uint16_t DecodeBf16(uint32_t code) {
  const float value = std::bit_cast<float>(code << 16);
  return Fp16OfValue(value);
}

uint16_t DecodeFp8(const FormatInfo& info, uint32_t code) {
  const CodeFields fields = Split(info, code);
  if (fields.exponent == 15 && fields.mantissa == 7) return QuietNan(fields.negative);
  const double magnitude = fields.exponent == 0 ? std::ldexp(fields.mantissa / 8.0, -6)
                                                : std::ldexp(1.0 + fields.mantissa / 8.0,
                                                             static_cast<int>(fields.exponent) - 7);
  return Fp16OfValue(fields.negative ? -magnitude : magnitude);
}

// The numbers at or above +0 that the codes of a format with a sign bit stand for, ascending.
struct Number {
  double magnitude;
  uint32_t code;
  bool is_even;  // the kept mantissa
};

std::vector<Number> NumbersOf(const FormatInfo& info) {
  std::vector<Number> numbers;
  for (uint32_t code = 0; code < SignBit(info); ++code) {
    const uint16_t fp16 = DecodeCode(info.format, code);
    // What bf16 says beyond fp16 is no weight: infinities, NaN, and numbers smaller than fp16's.
    if (!IsFinite(fp16)) continue;
    if (info.family == FormatFamily::kBf16 &&
        ValueOfFp16(fp16) != std::bit_cast<float>(code << 16)) {
      continue;
    }
    numbers.push_back({ValueOfFp16(fp16), code, KeptMantissa(info, code) % 2 == 0});
  }
  std::sort(numbers.begin(), numbers.end(),
            [](const Number& a, const Number& b) { return a.magnitude < b.magnitude; });
  return numbers;
}

const std::vector<Number>& CachedNumbersOf(const FormatInfo& info) {
  static const auto* const numbers = [] {
    auto* const all = new std::array<std::vector<Number>, kFormats.size()>;
    for (const FormatInfo& format : kFormats) {
      if (format.family == FormatFamily::kInteger || format.family == FormatFamily::kNormalFloat) {
        continue;
      }
      (*all)[static_cast<size_t>(format.format) - 1] = NumbersOf(format);
    }
    return all;
  }();
  return (*numbers)[static_cast<size_t>(info.format) - 1];
}

// The code of the number nearest to `value`, of two at the same distance the even one; the largest
// beyond the largest. The sign stays, that of a zero too: codes of one sign mirror the other's.
uint32_t NearestCode(const FormatInfo& info, double value) {
  const std::vector<Number>& numbers = CachedNumbersOf(info);
  const double wanted = std::abs(value);
  const auto above = std::lower_bound(
      numbers.begin(), numbers.end(), wanted,
      [](const Number& number, double magnitude) { return number.magnitude < magnitude; });
  uint32_t code;
  if (above == numbers.end()) {
    code = numbers.back().code;
  } else if (above == numbers.begin()) {
    code = above->code;
  } else {
    // The numbers have at most 12 significant bits and neighbours are close, so the middle is an
    // exact double, while the distances need not be. Of two neighbours one is even: within a binade
    // their kept mantissas differ by one, at its end all ones meet zero.
    const Number& below = above[-1];
    const double middle = (below.magnitude + above->magnitude) / 2;
    const bool is_below = wanted < middle || (wanted == middle && below.is_even);
    code = is_below ? below.code : above->code;
  }
  return std::signbit(value) ? code | SignBit(info) : code;
}

}  // namespace

uint16_t DecodeCode(WeightFormat format, uint32_t code) {
  const FormatInfo& info = InfoOf(format);
  HWY_ASSERT(info.family != FormatFamily::kNormalFloat && code < CodeCount(info));
  switch (info.family) {
    case FormatFamily::kHf:
      return DecodeHf(info, code);
    case FormatFamily::kFloat: {
      const CodeFields fields = Split(info, code);
      return Fp16Pattern(fields.negative, fields.exponent,
                         fields.mantissa << (10 - info.mantissa_bits));
    }
    case FormatFamily::kInteger:
      return Fp16OfValue(static_cast<int8_t>(code) / 128.0);
    case FormatFamily::kBf16:
      return DecodeBf16(code);
    case FormatFamily::kFp8:
      return DecodeFp8(info, code);
    case FormatFamily::kNormalFloat:
      break;
  }
  return 0;
}

std::optional<uint32_t> EncodePattern(WeightFormat format, uint16_t fp16) {
  const FormatInfo& info = InfoOf(format);
  HWY_ASSERT(info.scaling == Scaling::kNone);
  if (!IsFinite(fp16)) return std::nullopt;
  const double value = ValueOfFp16(fp16);
  const bool saturates = info.family == FormatFamily::kFp8;
  if (std::abs(value) > info.max_value && !saturates) return std::nullopt;
  return NearestCode(info, value);
}

uint32_t NearestRawCode(WeightFormat format, float y) {
  const FormatInfo& info = InfoOf(format);
  if (info.family == FormatFamily::kFloat) return NearestCode(info, y);
  HWY_ASSERT(info.family == FormatFamily::kInteger);
  // nearbyint rounds ties to even: the default rounding mode, which nobody changes here.
  const double integer = std::nearbyint(y * 128.0);
  const double limited = std::clamp(integer, -127.0, 127.0);
  return static_cast<uint32_t>(static_cast<int>(limited)) & 0xFF;
}

std::vector<uint32_t> EncodeWithoutScale(const PackedLayout& layout,
                                         std::span<const uint16_t> fp16) {
  std::vector<uint32_t> codes;
  for (const uint16_t x : fp16) {
    const std::optional<uint32_t> code = EncodePattern(layout.format, x);
    HWY_ASSERT(code.has_value());
    codes.push_back(*code);
  }
  return codes;
}

std::vector<uint16_t> DecodeWithoutScale(const PackedLayout& layout,
                                         std::span<const uint32_t> codes) {
  std::vector<uint16_t> fp16;
  for (const uint32_t code : codes) fp16.push_back(DecodeCode(layout.format, code));
  return fp16;
}

double ValueOfFp16(uint16_t fp16) {
  const int exponent = fp16 >> 10 & 31;
  const int mantissa = fp16 & 1023;
  double magnitude;
  if (exponent == 31) {
    magnitude = mantissa == 0 ? std::numeric_limits<double>::infinity()
                              : std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = std::ldexp(mantissa / 1024.0, -14);
  } else {
    magnitude = std::ldexp(1.0 + mantissa / 1024.0, exponent - 15);
  }
  return IsNegative(fp16) ? -magnitude : magnitude;
}

uint16_t Fp16OfValue(double value) {
  const bool negative = std::signbit(value);
  if (std::isnan(value)) return QuietNan(negative);
  const double magnitude = std::abs(value);
  if (magnitude >= 65520.0) return Fp16Pattern(negative, 31, 0);  // the middle of 65504 and 65536
  // [2^exponent, 2^(exponent + 1)) holds the magnitude; below 2^-14 fp16 goes on in equal steps.
  const int exponent = magnitude == 0.0 ? -14 : std::max(std::ilogb(magnitude), -14);
  // In steps of fp16's last place, exactly; ties go to the even number of steps, whose mantissa is
  // even too. 2048 steps are the next binade's first number, and less than 1024 are subnormal: the
  // patterns follow each other like the numbers, so adding the steps is right for all of them.
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  const int pattern = (exponent + 14) * 1024 + steps;
  return static_cast<uint16_t>(negative ? pattern | 0x8000 : pattern);
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
