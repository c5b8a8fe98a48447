#include "client/weights/fp16_rounding.h"

#include <bit>
#include <cstring>

namespace tightfit::weights {

static_assert(std::endian::native == std::endian::little, "weights of files are little-endian");

uint16_t RoundToFp16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  constexpr uint32_t kInfinity = 0x7F800000;
  constexpr uint32_t kOverflow = 0x477FF000;        // 65520: halfway to the fp16 that is none
  constexpr uint32_t kSmallestNormal = 0x38800000;  // 2^-14
  if (magnitude > kInfinity) return sign | 0x7E00;
  if (magnitude >= kOverflow) return sign | 0x7C00;

  // The fp16 pattern is the integer `kept` after bits that do not fit were shifted out.
  uint32_t significand = magnitude;
  int shift = 13;
  if (magnitude >= kSmallestNormal) {
    significand -= 112u << 23;  // fp16's exponent bias
  } else {
    // A subnormal counts multiples of 2^-24.
    const int exponent = static_cast<int>(magnitude >> 23);
    shift = 126 - exponent;
    if (shift > 24) return sign;  // below half of 2^-24, fp32's subnormals among them
    significand = (magnitude & 0x7FFFFF) | 0x800000;
  }
  const uint32_t kept = significand >> shift;
  const uint32_t rest = significand & ((1u << shift) - 1);
  const uint32_t half = 1u << (shift - 1);
  const bool up = rest > half || (rest == half && (kept & 1) != 0);
  return sign | static_cast<uint16_t>(kept + (up ? 1 : 0));
}

void RoundToFp16(StoredDtype dtype, std::span<const uint8_t> stored, std::span<uint16_t> out) {
  if (dtype == StoredDtype::kF16) {
    if (!out.empty()) std::memcpy(out.data(), stored.data(), out.size_bytes());
    return;
  }
  for (size_t i = 0; i < out.size(); ++i) {
    uint32_t bits = 0;
    if (dtype == StoredDtype::kBF16) {
      uint16_t upper = 0;
      std::memcpy(&upper, stored.data() + 2 * i, 2);
      bits = static_cast<uint32_t>(upper) << 16;
    } else {
      std::memcpy(&bits, stored.data() + 4 * i, 4);
    }
    out[i] = RoundToFp16(std::bit_cast<float>(bits));
  }
}

}  // namespace tightfit::weights
