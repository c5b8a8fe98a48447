// The HF codes as 16-entry byte tables, computed from their definition in FORMATS.md.
//
// An fp16 pattern is handled as two bytes: the high one holds sign, exponent field and the
// mantissa's upper two bits, the low one the rest of the mantissa. For a code `s EEE f` let x =
// sEEE, a nibble. The high byte is then a sum, modulo 256, of three parts:
//
//   by_index[x]             sign, and the exponent field where EEE is not 0
// + (f >> (m - 2)) & 3      the upper two bits of f, which are the mantissa's
// + by_selector[f]          where EEE is 0: the exponent field that f's low three bits select
//
// and the low byte is f's other bits, less those that belong to the selector. gate[x] tells the two
// cases apart: with bit 7 set it makes a byte shuffle answer 0 in place of by_selector, and its
// other bits let the mantissa through.
#ifndef TIGHTFIT_KERNELS_HF_TABLES_H_
#define TIGHTFIT_KERNELS_HF_TABLES_H_

#include <array>
#include <cstdint>

namespace tightfit {

template <int kMantissaBits>
struct HfTables {
  using Table = std::array<uint8_t, 16>;

  // Low-byte bits of the mantissa where EEE is not 0, and where it is.
  static constexpr uint8_t kFineMask = static_cast<uint8_t>(0x3FF << (10 - kMantissaBits));
  static constexpr uint8_t kCoarseMask = static_cast<uint8_t>(0x3FF << (13 - kMantissaBits));
  // Bits of f that by_selector reads. With four mantissa bits one selector bit lies among the upper
  // two bits of f; reading all of f lets the table take it out again.
  static constexpr uint8_t kSelectorMask = kMantissaBits == 4 ? 15 : 7;

  alignas(16) Table by_index{};
  alignas(16) Table gate{};
  alignas(16) Table by_selector{};

  constexpr HfTables() {
    for (int x = 0; x < 16; ++x) {
      const int index = x & 7;
      const int sign = (x >> 3) << 7;
      by_index[x] = static_cast<uint8_t>(sign | (index == 0 ? 0 : (index + 3) << 2));
      gate[x] = index == 0 ? 0 : kFineMask;
    }
    for (int f = 0; f <= kSelectorMask; ++f) {
      const int selector = f & 7;
      const int field = selector < 4 ? selector : selector + 7;
      const int selector_bits_in_sum = kMantissaBits == 4 ? selector >> 2 : 0;
      by_selector[f] = static_cast<uint8_t>((field << 2) - selector_bits_in_sum);
    }
  }
};

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_HF_TABLES_H_
