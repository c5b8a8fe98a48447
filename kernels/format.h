// The table of weight formats. kernels/FORMATS.md is the specification; adding a format is one row
// here, one codec, its tests.
//
// Every format gives each weight an fp16 value, so decoding to fp32 is exact and decoding to bf16
// rounds that value once. The value of a code is
//   HF, bf16, fp8    the code's own
//   float, integer   round16(raw(code) * S): raw an exact fp16 number, S an fp16 scale
//   normal float     round16(level(digit) * s): both fp32
#ifndef TIGHTFIT_KERNELS_FORMAT_H_
#define TIGHTFIT_KERNELS_FORMAT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tightfit {

// The numbers are stored in files: they never change.
enum class WeightFormat : uint8_t {
  kHf8 = 1,
  kHf8x = 2,
  kHf10 = 3,
  kHf12 = 4,
  kE2m3 = 5,
  kE2m5 = 6,
  kE3m4 = 7,
  kE4m3 = 8,
  kE3m6 = 9,
  kE3m8 = 10,
  kE2m3r = 11,
  kE2m5r = 12,
  kE3m4r = 13,
  kE4m3r = 14,
  kE3m6r = 15,
  kE3m8r = 16,
  kQ8 = 17,
  kQ8b32 = 18,
  kNf5 = 19,
  kNf458 = 20,
  kNf4 = 21,
  kNf358 = 22,
  kNf281 = 23,
  kBf16 = 24,
  kFp8E4m3 = 25,
};

enum class FormatFamily : uint8_t {
  kHf,           // the published codes
  kFloat,        // sign, exponent, mantissa with linear subnormals; scaled
  kInteger,      // two's complement; scaled
  kNormalFloat,  // levels of the normal distribution; scaled by blocks
  kBf16,         // the upper half of fp32
  kFp8,          // OCP E4M3FN
};

// What a scale belongs to.
enum class Scaling : uint8_t {
  kNone,
  kTensor,   // one power of two, from the tensor's exponent bias; outliers in a side list
  kRow,      // fp16 for each row
  kBlock32,  // fp16 for each 32 weights of a row
  kBlock64,  // uint8 for each 64 weights of the flattened tensor, fp32 for each 64 * 256
};

struct FormatInfo {
  WeightFormat format;
  std::string_view name;
  FormatFamily family = FormatFamily::kHf;
  Scaling scaling = Scaling::kNone;
  double bits = 0;          // of a weight's code, without scales and padding
  int exponent_bits = 0;    // 0 where the code is no float
  int mantissa_bits = 0;    // of hf8, hf10, hf12 the most that a code stores
  int low_plane_bits = 0;   // of the first plane: the code's low bits; 0 where there are no planes
  int high_plane_bits = 0;  // of the second plane: the code's bits above; 0 where there is none
  int level_count = 0;      // of normal floats
  // The largest magnitude that is stored without loss of more than rounding. A tensor with a larger
  // weight is refused; but of tensor-scaled floats the side list takes a few, and fp8 saturates.
  double max_value = 0;
  bool exact_in_bf16 = false;  // every code's value has at most 8 significant bits
};

namespace format_table {

constexpr double kLargestFp16 = 65504.0;
// Where raw * S may come out a little above the weight and must stay within fp16.
constexpr double kLargestOfScaled = 32768.0;

constexpr FormatInfo Hf(WeightFormat format, std::string_view name, int exponent_bits,
                        int mantissa_bits, double max_value) {
  const int bits = 1 + exponent_bits + mantissa_bits;
  return {.format = format,
          .name = name,
          .family = FormatFamily::kHf,
          .scaling = Scaling::kNone,
          .bits = static_cast<double>(bits),
          .exponent_bits = exponent_bits,
          .mantissa_bits = mantissa_bits,
          .low_plane_bits = 8,
          .high_plane_bits = bits - 8,
          .max_value = max_value,
          .exact_in_bf16 = mantissa_bits < 8};
}

constexpr FormatInfo Float(WeightFormat format, std::string_view name, Scaling scaling,
                           int exponent_bits, int mantissa_bits) {
  const int bits = 1 + exponent_bits + mantissa_bits;
  // raw(largest code) is (2 - 2^-m) * 2^(2^e - 1 - 15); the largest scale is 2^15 for a tensor, the
  // largest fp16 for a row.
  double largest = 2.0 - 1.0 / (1 << mantissa_bits);
  for (int field = 15; field >= 1 << exponent_bits; --field) largest /= 2.0;
  largest *= scaling == Scaling::kRow ? kLargestFp16 : 32768.0;
  return {.format = format,
          .name = name,
          .family = FormatFamily::kFloat,
          .scaling = scaling,
          .bits = static_cast<double>(bits),
          .exponent_bits = exponent_bits,
          .mantissa_bits = mantissa_bits,
          .low_plane_bits = bits < 8 ? 4 : 8,
          .high_plane_bits = bits < 8 ? bits - 4 : bits - 8,
          .max_value = largest < kLargestFp16 ? largest : kLargestOfScaled,
          .exact_in_bf16 = scaling == Scaling::kTensor && mantissa_bits < 8};
}

constexpr FormatInfo Integer(WeightFormat format, std::string_view name, Scaling scaling) {
  return {.format = format,
          .name = name,
          .family = FormatFamily::kInteger,
          .scaling = scaling,
          .bits = 8,
          .mantissa_bits = 7,
          .low_plane_bits = 8,
          .max_value = kLargestFp16 * 127 / 128};
}

constexpr FormatInfo NormalFloat(WeightFormat format, std::string_view name, int level_count,
                                 double bits, int low_plane_bits, int high_plane_bits) {
  return {.format = format,
          .name = name,
          .family = FormatFamily::kNormalFloat,
          .scaling = Scaling::kBlock64,
          .bits = bits,
          .low_plane_bits = low_plane_bits,
          .high_plane_bits = high_plane_bits,
          .level_count = level_count,
          .max_value = kLargestOfScaled};
}

}  // namespace format_table

inline constexpr std::array<FormatInfo, 25> kFormats = {{
    format_table::Hf(WeightFormat::kHf8, "hf8", 3, 4, 0.75),
    format_table::Hf(WeightFormat::kHf8x, "hf8x", 4, 3, 1.875),
    format_table::Hf(WeightFormat::kHf10, "hf10", 3, 6, 0.9375),
    format_table::Hf(WeightFormat::kHf12, "hf12", 3, 8, 0.984375),
    format_table::Float(WeightFormat::kE2m3, "e2m3", Scaling::kTensor, 2, 3),
    format_table::Float(WeightFormat::kE2m5, "e2m5", Scaling::kTensor, 2, 5),
    format_table::Float(WeightFormat::kE3m4, "e3m4", Scaling::kTensor, 3, 4),
    format_table::Float(WeightFormat::kE4m3, "e4m3", Scaling::kTensor, 4, 3),
    format_table::Float(WeightFormat::kE3m6, "e3m6", Scaling::kTensor, 3, 6),
    format_table::Float(WeightFormat::kE3m8, "e3m8", Scaling::kTensor, 3, 8),
    format_table::Float(WeightFormat::kE2m3r, "e2m3r", Scaling::kRow, 2, 3),
    format_table::Float(WeightFormat::kE2m5r, "e2m5r", Scaling::kRow, 2, 5),
    format_table::Float(WeightFormat::kE3m4r, "e3m4r", Scaling::kRow, 3, 4),
    format_table::Float(WeightFormat::kE4m3r, "e4m3r", Scaling::kRow, 4, 3),
    format_table::Float(WeightFormat::kE3m6r, "e3m6r", Scaling::kRow, 3, 6),
    format_table::Float(WeightFormat::kE3m8r, "e3m8r", Scaling::kRow, 3, 8),
    format_table::Integer(WeightFormat::kQ8, "q8", Scaling::kRow),
    format_table::Integer(WeightFormat::kQ8b32, "q8b32", Scaling::kBlock32),
    format_table::NormalFloat(WeightFormat::kNf5, "nf5", 32, 5, 4, 1),
    format_table::NormalFloat(WeightFormat::kNf458, "nf4.58", 24, 28.0 / 6, 0, 0),
    format_table::NormalFloat(WeightFormat::kNf4, "nf4", 16, 4, 4, 0),
    format_table::NormalFloat(WeightFormat::kNf358, "nf3.58", 12, 18.0 / 5, 0, 0),
    format_table::NormalFloat(WeightFormat::kNf281, "nf2.81", 7, 31.0 / 11, 0, 0),
    {.format = WeightFormat::kBf16,
     .name = "bf16",
     .family = FormatFamily::kBf16,
     .bits = 16,
     .exponent_bits = 8,
     .mantissa_bits = 7,
     .low_plane_bits = 16,
     .max_value = 65280.0,
     .exact_in_bf16 = true},
    {.format = WeightFormat::kFp8E4m3,
     .name = "fp8-e4m3",
     .family = FormatFamily::kFp8,
     .bits = 8,
     .exponent_bits = 4,
     .mantissa_bits = 3,
     .low_plane_bits = 8,
     .max_value = 448.0,
     .exact_in_bf16 = true},
}};

// Rows stand in the order of their numbers, from 1 (checked by a test).
constexpr const FormatInfo& InfoOf(WeightFormat format) {
  return kFormats[static_cast<size_t>(format) - 1];
}

constexpr std::optional<WeightFormat> FormatByName(std::string_view name) {
  for (const FormatInfo& info : kFormats) {
    if (info.name == name) return info.format;
  }
  return std::nullopt;
}

// Codes of one weight are 0 .. CodeCount - 1.
constexpr uint32_t CodeCount(const FormatInfo& info) {
  if (info.level_count != 0) return static_cast<uint32_t>(info.level_count);
  return 1u << (info.low_plane_bits + info.high_plane_bits);
}

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_FORMAT_H_
