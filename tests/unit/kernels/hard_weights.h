// Weights at which one rounding of FORMATS.md decides the packed bytes. Random weights would find
// them once in millions: a codec that sums in another order, fuses a product or divides in place of
// multiplying passes everything else.
#ifndef TIGHTFIT_TESTS_UNIT_KERNELS_HARD_WEIGHTS_H_
#define TIGHTFIT_TESTS_UNIT_KERNELS_HARD_WEIGHTS_H_

#include "kernels/format.h"

#include <array>
#include <cstdint>

namespace tightfit {

// A row of e3m8r. Candidates 7 and 27 of its scale have the same error in fp32, so 7 is S. Summing
// in order, in 8 or 32 parts, or adding the 16 parts in order or neighbours first, fused squares,
// x / S in place of x * (1 / S), and doubles all make 27 the better one.
inline constexpr std::array<uint16_t, 50> kRowOfCloseScales = {
    0x21C0, 0x9F9B, 0xA324, 0xA7B2, 0xA37D, 0x2158, 0xA563, 0x182E, 0x232A, 0x2705,
    0x29D2, 0xA17C, 0x238A, 0x2AC2, 0xA75B, 0xA17C, 0x20AD, 0x9C25, 0x98BA, 0x1F2C,
    0x2360, 0xA724, 0x280A, 0xA141, 0x980C, 0x2954, 0x9952, 0x2574, 0xA997, 0x97CF,
    0x2750, 0xA1CD, 0x21E8, 0xA799, 0x9DA9, 0xA832, 0x271E, 0x1B78, 0xA481, 0xA80C,
    0x2148, 0x229A, 0x2663, 0xA4DC, 0xA14A, 0x2957, 0x27D1, 0x1C11, 0x2817, 0x92AD};
inline constexpr uint16_t kScaleOfCloseScales = 0x47E1;

// A row of q8: the largest magnitude and a weight of exactly 3.5 steps, to which round32(128 / S)
// gives 3.49999976: code 3, where division or fp32 of more digits would give 4.
inline constexpr std::array<uint16_t, 2> kRowOfATieOfQ8 = {0x30EE, 0x1C59};
inline constexpr uint32_t kCodeOfATieOfQ8 = 3;

// The largest magnitude of a superblock, a block's scale code in it, and a weight of this block
// beside a threshold: division by s, and comparing the weight with thresholds times s, give a digit
// beside this one.
struct WeightAtThreshold {
  WeightFormat format;
  uint16_t superblock_largest;
  int scale_code;
  uint16_t weight;
  uint32_t digit;
};
inline constexpr std::array<WeightAtThreshold, 9> kWeightsAtThresholds = {{
    {WeightFormat::kNf5, 0x3004, 149, 0x2C48, 31},
    {WeightFormat::kNf5, 0x3059, 223, 0x2AF1, 25},
    {WeightFormat::kNf458, 0x3031, 130, 0x2A28, 21},
    {WeightFormat::kNf458, 0x30B6, 225, 0x2D05, 21},
    {WeightFormat::kNf4, 0x3069, 227, 0x2847, 10},
    {WeightFormat::kNf4, 0x3166, 172, 0x2E42, 15},
    {WeightFormat::kNf358, 0x30A6, 157, 0x2A72, 9},
    {WeightFormat::kNf358, 0x30EB, 217, 0x2831, 7},
    {WeightFormat::kNf281, 0x33EB, 251, 0x31DE, 5},
}};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_KERNELS_HARD_WEIGHTS_H_
