#include "tests/unit/kernels/reference_probe.h"

#include "kernels/codec_reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <numbers>
#include <string>

namespace tightfit::reference {
namespace {

// The bits of one plane that a weight has, in the words of FORMATS.md section 6.
void AddPlace(int64_t row_begin, int bits, int64_t column, std::vector<BitRange>* places) {
  const int64_t group = column / 16;
  const auto place = static_cast<int>(column % 16);
  const auto add = [&](int64_t group_bytes, int byte, int first_bit) {
    places->push_back({(row_begin + group * group_bytes + byte) * 8 + first_bit, bits});
  };
  switch (bits) {
    case 16:
      return add(32, 2 * place, 0);
    case 8:
      return add(16, place, 0);
    case 4:
      return place < 8 ? add(8, place, 0) : add(8, place - 8, 4);
    case 2:
      if (place < 4) return add(4, place, 0);
      if (place < 8) return add(4, place - 4, 2);
      if (place < 12) return add(4, place - 8, 4);
      return add(4, place - 12, 6);
    case 1:
      return place % 2 == 0 ? add(2, 0, place / 2) : add(2, 1, (place - 1) / 2);
    default:
      FAIL() << "no plane has " << bits << " bits";
  }
}

// Uniform in (0, 1]: the upper bits of Knuth's MMIX generator.
double NextUniform(uint64_t* state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<double>((*state >> 11) + 1) / 9007199254740992.0;
}

}  // namespace

std::vector<uint16_t> ReadGoldenTable(std::string_view format, std::string_view what,
                                      size_t count) {
  const std::string path =
      TIGHTFIT_SOURCE_DIR "/tests/golden/" + std::string(format) + "_" + std::string(what) + ".u16";
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  if (bytes.size() != count * 2) {
    ADD_FAILURE() << path << " has " << bytes.size() << " bytes";
    return {};
  }
  std::vector<uint16_t> table;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    table.push_back(static_cast<uint16_t>(static_cast<uint8_t>(bytes[i]) |
                                          static_cast<uint8_t>(bytes[i + 1]) << 8));
  }
  return table;
}

std::vector<uint16_t> ExactPatterns(std::span<const double> values) {
  std::vector<uint16_t> patterns;
  for (const double value : values) {
    patterns.push_back(Fp16OfValue(value));
    EXPECT_EQ(ValueOfFp16(patterns.back()), value);
  }
  return patterns;
}

std::vector<uint16_t> GaussianWeights(int64_t count, double deviation, uint64_t seed) {
  uint64_t state = seed;
  std::vector<uint16_t> weights;
  while (static_cast<int64_t>(weights.size()) < count) {
    const double radius = std::sqrt(-2.0 * std::log(NextUniform(&state)));
    const double angle = 2.0 * std::numbers::pi * NextUniform(&state);
    weights.push_back(Fp16OfValue(deviation * radius * std::cos(angle)));
  }
  return weights;
}

double Decibels(std::span<const uint16_t> weights, std::span<const uint16_t> decoded) {
  EXPECT_EQ(weights.size(), decoded.size());
  double signal = 0.0;
  double noise = 0.0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double weight = ValueOfFp16(weights[i]);
    const double error = weight - ValueOfFp16(decoded[i]);
    signal += weight * weight;
    noise += error * error;
  }
  return 10.0 * std::log10(signal / noise);
}

std::vector<BitRange> CodePlaces(const PackedLayout& layout, int64_t row, int64_t column) {
  const FormatInfo& info = InfoOf(layout.format);
  if (info.family == FormatFamily::kNormalFloat) {
    column += row * layout.columns;
    row = 0;
  }
  std::vector<BitRange> places;
  AddPlace(row * layout.low_row_bytes, info.low_plane_bits, column, &places);
  if (info.high_plane_bits != 0) {
    AddPlace(layout.high_plane_offset_bytes + row * layout.high_row_bytes, info.high_plane_bits,
             column, &places);
  }
  return places;
}

uint64_t BitsAt(std::span<const uint8_t> packed, std::span<const BitRange> places) {
  uint64_t value = 0;
  int shift = 0;
  for (const BitRange place : places) {
    for (int64_t bit = place.first; bit < place.first + place.count; ++bit, ++shift) {
      const uint64_t is_set = packed[bit / 8] >> bit % 8 & 1;
      value |= is_set << shift;
    }
  }
  return value;
}

uint64_t BitsAt(std::span<const uint8_t> packed, BitRange place) {
  return BitsAt(packed, std::span(&place, 1));
}

uint32_t CodeAt(const PackedLayout& layout, std::span<const uint8_t> packed, int64_t row,
                int64_t column) {
  const FormatInfo& info = InfoOf(layout.format);
  const RadixWord word = RadixWordOf(info);
  if (word.digits == 0) {
    return static_cast<uint32_t>(BitsAt(packed, CodePlaces(layout, row, column)));
  }
  const int64_t index = row * layout.columns + column;
  uint64_t value = BitsAt(packed, BitRange{index / word.digits * word.bits, word.bits});
  for (int64_t i = 0; i < index % word.digits; ++i) value /= info.level_count;
  return static_cast<uint32_t>(value % info.level_count);
}

}  // namespace tightfit::reference
