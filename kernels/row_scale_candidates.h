// The candidates of a row's scale (FORMATS.md section 2): S_j = round16(round32(a * F_j)).
#ifndef TIGHTFIT_KERNELS_ROW_SCALE_CANDIDATES_H_
#define TIGHTFIT_KERNELS_ROW_SCALE_CANDIDATES_H_

#include "kernels/format.h"

#include <array>

namespace tightfit {

inline constexpr int kRowScaleCandidates = 32;

// 2^(j / 32), as the nearest double.
inline constexpr std::array<double, kRowScaleCandidates> kPowersWithinAnOctave = {
    1.0,
    1.0218971486541166,
    1.0442737824274138,
    1.0671404006768237,
    1.0905077326652577,
    1.1143867425958924,
    1.1387886347566916,
    1.1637248587775775,
    1.189207115002721,
    1.215247359980469,
    1.241857812073484,
    1.2690509571917332,
    1.2968395546510096,
    1.3252366431597413,
    1.3542555469368927,
    1.383909881963832,
    1.4142135623730951,
    1.4451808069770467,
    1.4768261459394993,
    1.5091644275934228,
    1.5422108254079407,
    1.5759808451078865,
    1.6104903319492543,
    1.645755478153965,
    1.681792830507429,
    1.718619298122478,
    1.7562521603732995,
    1.7947090750031072,
    1.8340080864093424,
    1.8741676341103,
    1.9152065613971474,
    1.9571441241754002};

// The largest raw of a float format: (2 - 2^-m) * 2^(2^e - 16).
constexpr double LargestRaw(const FormatInfo& info) {
  double value = 2.0 - 1.0 / (1 << info.mantissa_bits);
  for (int field = 15; field >= 1 << info.exponent_bits; --field) value /= 2.0;
  return value;
}

// F_j.
constexpr float RowScaleFactor(const FormatInfo& info, int candidate) {
  return static_cast<float>(kPowersWithinAnOctave[candidate] / LargestRaw(info));
}

// F_j of all candidates, aligned for vectors.
struct RowScaleFactors {
  alignas(64) std::array<float, kRowScaleCandidates> values;
};

constexpr RowScaleFactors RowScaleFactorsOf(const FormatInfo& info) {
  RowScaleFactors factors{};
  for (int j = 0; j < kRowScaleCandidates; ++j) factors.values[j] = RowScaleFactor(info, j);
  return factors;
}

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_ROW_SCALE_CANDIDATES_H_
