// The table of weight formats. A format maps a code to an fp16 value exactly; encoding picks the
// nearest value. kernels/FORMATS.md is the specification.
//
// Adding a format is one row here, one codec, its tests.
#ifndef TIGHTFIT_KERNELS_FORMAT_H_
#define TIGHTFIT_KERNELS_FORMAT_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tightfit {

enum class WeightFormat : uint8_t {
  kHf8 = 1,   // s EEE ffff
  kHf8x = 2,  // s EEEE fff
  kHf10 = 3,  // s EEE ffffff
  kHf12 = 4,  // s EEE ffffffff
};

struct FormatInfo {
  WeightFormat format;
  std::string_view name;
  int bits;             // per weight, all planes
  int low_plane_bits;   // of the first plane: the code's low bits, 8 for all
  int high_plane_bits;  // of the second plane: the code's high bits; 0 where there is none
  double max_value;     // largest magnitude
  bool exact_in_bf16;   // every value has at most 8 significant bits
};

inline constexpr std::array<FormatInfo, 4> kFormats = {{
    {WeightFormat::kHf8, "hf8", 8, 8, 0, 0.75, true},
    {WeightFormat::kHf8x, "hf8x", 8, 8, 0, 1.875, true},
    {WeightFormat::kHf10, "hf10", 10, 8, 2, 0.9375, true},
    {WeightFormat::kHf12, "hf12", 12, 8, 4, 0.984375, false},
}};

constexpr const FormatInfo& InfoOf(WeightFormat format) {
  for (const FormatInfo& info : kFormats) {
    if (info.format == format) return info;
  }
  return kFormats[0];  // unreachable: every enumerator has a row (checked by a test)
}

constexpr std::optional<WeightFormat> FormatByName(std::string_view name) {
  for (const FormatInfo& info : kFormats) {
    if (info.name == name) return info.format;
  }
  return std::nullopt;
}

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_FORMAT_H_
