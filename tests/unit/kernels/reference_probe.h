// What the tests of the reference share: golden tables, weights, and a reader of packed bits that
// knows FORMATS.md and PackedLayout, but neither the reference nor the codecs.
#ifndef TIGHTFIT_TESTS_UNIT_KERNELS_REFERENCE_PROBE_H_
#define TIGHTFIT_TESTS_UNIT_KERNELS_REFERENCE_PROBE_H_

#include "kernels/packed_layout.h"

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace tightfit::reference {

// tests/golden/<format>_<what>.u16. Empty, and a failure of the test, where the size is another.
std::vector<uint16_t> ReadGoldenTable(std::string_view format, std::string_view what, size_t count);

// fp16 patterns of these numbers, which have to be fp16 numbers: nothing is rounded.
std::vector<uint16_t> ExactPatterns(std::span<const double> values);

// fp16 patterns of normally distributed weights, the same on every machine.
std::vector<uint16_t> GaussianWeights(int64_t count, double deviation, uint64_t seed);

// 10 log10(sum of squared weights / sum of squared errors).
double Decibels(std::span<const uint16_t> weights, std::span<const uint16_t> decoded);

// A place in the packed tensor: bits [first, first + count), counted from the lowest of byte 0.
struct BitRange {
  int64_t first;
  int count;
};

// Where the code of a weight lies, its low bits first. Requires a format with planes.
std::vector<BitRange> CodePlaces(const PackedLayout& layout, int64_t row, int64_t column);

// The number in these places, and in one.
uint64_t BitsAt(std::span<const uint8_t> packed, std::span<const BitRange> places);
uint64_t BitsAt(std::span<const uint8_t> packed, BitRange place);

// The code of a weight, in planes or radix words.
uint32_t CodeAt(const PackedLayout& layout, std::span<const uint8_t> packed, int64_t row,
                int64_t column);

}  // namespace tightfit::reference

#endif  // TIGHTFIT_TESTS_UNIT_KERNELS_REFERENCE_PROBE_H_
