#include "client/weights/number_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tightfit::weights {

std::string ShapeText(std::span<const int64_t> shape) {
  return fmt::format("{}", fmt::join(shape, "x"));
}

std::string SqnrText(const Distortion& distortion) {
  if (distortion.noise_energy == 0) return "exact";
  if (distortion.signal_energy == 0) return "no signal";
  return fmt::format("{:.2f} dB", distortion.SqnrDb());
}

std::string LargestText(const FormatInfo& info) { return fmt::format("{:.6g}", info.max_value); }

std::string_view ScalingText(Scaling scaling) {
  switch (scaling) {
    case Scaling::kNone:
      return "none";
    case Scaling::kTensor:
      return "2^n a tensor";
    case Scaling::kRow:
      return "fp16 a row";
    case Scaling::kBlock32:
      return "fp16 per 32";
    case Scaling::kBlock64:
      return "uint8 per 64";
  }
  return "";
}

}  // namespace tightfit::weights
