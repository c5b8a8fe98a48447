#include "kernels/normal_float_digits.h"

#include <algorithm>
#include <cstring>

namespace tightfit::cpu {
namespace {

// One whole group. `high_group`: null where the format has no high plane.
void ReadGroup(const uint8_t* low_group, const uint8_t* high_group, uint8_t* digits) {
  for (int j = 0; j < 8; ++j) {
    digits[j] = low_group[j] & 15;
    digits[j + 8] = low_group[j] >> 4;
  }
  if (high_group == nullptr) return;
  for (int k = 0; k < 8; ++k) {
    digits[2 * k] |= (high_group[0] >> k & 1) << 4;
    digits[2 * k + 1] |= (high_group[1] >> k & 1) << 4;
  }
}

void ReadPlanes(const PackedLayout& layout, const uint8_t* packed, int64_t first, int64_t count,
                uint8_t* digits) {
  const bool has_high_plane = layout.high_row_bytes != 0;
  int64_t skip = first % kGroupWeights;
  for (int64_t group = first / kGroupWeights; count > 0; ++group) {
    uint8_t all[kGroupWeights];
    const int64_t taken = std::min(count, kGroupWeights - skip);
    ReadGroup(packed + group * 8,
              has_high_plane ? packed + layout.high_plane_offset_bytes + group * 2 : nullptr, all);
    std::memcpy(digits, all + skip, taken);
    digits += taken;
    count -= taken;
    skip = 0;
  }
}

void WritePlanes(const PackedLayout& layout, int64_t first, int64_t count, const uint8_t* digits,
                 uint8_t* packed) {
  const bool has_high_plane = layout.high_row_bytes != 0;
  for (int64_t begin = 0; begin < count; begin += kGroupWeights) {
    uint8_t group_digits[kGroupWeights] = {};
    std::memcpy(group_digits, digits + begin, std::min(count - begin, kGroupWeights));
    const int64_t group = (first + begin) / kGroupWeights;
    for (int64_t j = 0; j < 8; ++j) {
      packed[group * 8 + j] =
          static_cast<uint8_t>((group_digits[j] & 15) | (group_digits[j + 8] & 15) << 4);
    }
    if (!has_high_plane) continue;
    for (int64_t j = 0; j < 2; ++j) {
      uint8_t bits = 0;
      for (int64_t k = 0; k < 8; ++k) bits |= (group_digits[j + 2 * k] >> 4) << k;
      packed[layout.high_plane_offset_bytes + group * 2 + j] = bits;
    }
  }
}

// Words of `bits` bits at `stream`; the scales that follow make reading 8 bytes safe.
uint64_t ReadWord(const uint8_t* stream, int64_t word, int bits) {
  const int64_t position = word * bits;
  uint64_t bytes;
  std::memcpy(&bytes, stream + position / 8, sizeof(bytes));
  return bytes >> (position % 8) & ((uint64_t{1} << bits) - 1);
}

template <int kDigits, int kBits, int kLevels>
void ReadRadix(const uint8_t* stream, int64_t first, int64_t count, uint8_t* digits) {
  int64_t word = first / kDigits;
  int64_t skip = first % kDigits;
  while (count > 0) {
    uint64_t left = ReadWord(stream, word, kBits);
    uint8_t all[kDigits];
    for (uint8_t& digit : all) {
      digit = static_cast<uint8_t>(left % kLevels);
      left /= kLevels;
    }
    const int64_t taken = std::min(count, kDigits - skip);
    std::memcpy(digits, all + skip, taken);
    digits += taken;
    count -= taken;
    skip = 0;
    ++word;
  }
}

// `stream` begins with the word of the first digit, on a byte.
template <int kDigits, int kBits, int kLevels>
void WriteRadix(const uint8_t* digits, int64_t count, uint8_t* stream) {
  uint64_t pending = 0;
  int pending_bits = 0;
  for (int64_t begin = 0; begin < count; begin += kDigits) {
    uint64_t word = 0;
    for (int64_t i = std::min(count - begin, int64_t{kDigits}) - 1; i >= 0; --i) {
      word = word * kLevels + digits[begin + i];
    }
    pending |= word << pending_bits;
    for (pending_bits += kBits; pending_bits >= 8; pending_bits -= 8) {
      *stream++ = static_cast<uint8_t>(pending);
      pending >>= 8;
    }
  }
  if (pending_bits > 0) *stream = static_cast<uint8_t>(pending);
}

// Zero bytes from the last digit's to the end of the part.
void ClearPadding(uint8_t* part, int64_t used_bytes, int64_t part_bytes) {
  std::memset(part + used_bytes, 0, part_bytes - used_bytes);
}

}  // namespace

void ReadDigits(const PackedLayout& layout, const uint8_t* packed, int64_t first, int64_t count,
                uint8_t* digits) {
  switch (InfoOf(layout.format).level_count) {
    case 24:
      return ReadRadix<6, 28, 24>(packed, first, count, digits);
    case 12:
      return ReadRadix<5, 18, 12>(packed, first, count, digits);
    case 7:
      return ReadRadix<11, 31, 7>(packed, first, count, digits);
    default:
      return ReadPlanes(layout, packed, first, count, digits);
  }
}

void WriteDigits(const PackedLayout& layout, int64_t first, int64_t count, const uint8_t* digits,
                 uint8_t* packed) {
  const FormatInfo& info = InfoOf(layout.format);
  const RadixWord word = RadixWordOf(info);
  const bool is_last = first + count == layout.rows * layout.columns;
  if (word.digits == 0) {
    WritePlanes(layout, first, count, digits, packed);
    if (!is_last) return;
    const int64_t groups = (first + count + kGroupWeights - 1) / kGroupWeights;
    ClearPadding(packed, groups * 8, layout.low_row_bytes);
    ClearPadding(packed + layout.high_plane_offset_bytes, groups * 2 * info.high_plane_bits,
                 layout.high_row_bytes);
    return;
  }
  uint8_t* const stream = packed + first / word.digits * word.bits / 8;
  switch (info.level_count) {
    case 24:
      WriteRadix<6, 28, 24>(digits, count, stream);
      break;
    case 12:
      WriteRadix<5, 18, 12>(digits, count, stream);
      break;
    default:
      WriteRadix<11, 31, 7>(digits, count, stream);
      break;
  }
  if (!is_last) return;
  const int64_t words = (first + count + word.digits - 1) / word.digits;
  ClearPadding(packed, (words * word.bits + 7) / 8, layout.low_row_bytes);
}

}  // namespace tightfit::cpu
