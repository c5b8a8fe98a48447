#include "kernels/side_list.h"

#include "kernels/codec_cpu.h"

#include <algorithm>
#include <cstring>

namespace tightfit {
namespace {

template <typename T>
T NumberAt(const uint8_t* bytes, int64_t index) {
  T number;
  std::memcpy(&number, bytes + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return number;
}

}  // namespace

uint16_t LargestMagnitudeAt(const FormatInfo& info, int exponent_bias) {
  // The exponent field of fp16 stands for 2^(field - 15).
  const int field = (1 << info.exponent_bits) - 1 - exponent_bias + 15;
  const int mantissa = ((1 << info.mantissa_bits) - 1) << (10 - info.mantissa_bits);
  if (field > 0) return static_cast<uint16_t>(field << 10 | mantissa);
  return static_cast<uint16_t>((0x400 | mantissa) >> (1 - field));  // subnormal, exactly
}

uint32_t SideListPosition(const PackedLayout& layout, const uint8_t* packed, int64_t entry) {
  return NumberAt<uint32_t>(packed + layout.side_position_offset_bytes, entry);
}

uint16_t SideListValue(const PackedLayout& layout, const uint8_t* packed, int64_t entry) {
  return NumberAt<uint16_t>(packed + layout.side_value_offset_bytes, entry);
}

int64_t SideListLowerBound(const PackedLayout& layout, const uint8_t* packed, int64_t position) {
  int64_t begin = 0;
  int64_t end = layout.side_count;
  while (begin < end) {
    const int64_t middle = begin + (end - begin) / 2;
    if (SideListPosition(layout, packed, middle) < position) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

void WriteSideList(const PackedLayout& layout, const uint16_t* fp16, uint8_t* packed) {
  uint8_t* const positions = packed + layout.side_position_offset_bytes;
  uint8_t* const values = packed + layout.side_value_offset_bytes;
  // An empty tensor has no bytes, and may have no address.
  const int64_t bytes = layout.total_bytes - layout.side_position_offset_bytes;
  if (bytes > 0) std::memset(positions, 0, bytes);
  if (layout.side_count == 0) return;
  const uint16_t largest = LargestMagnitudeAt(InfoOf(layout.format), layout.exponent_bias);
  // Almost no piece holds any.
  constexpr int64_t kPiece = 4096;
  const int64_t weights = layout.rows * layout.columns;
  int64_t entry = 0;
  for (int64_t begin = 0; begin < weights && entry < layout.side_count; begin += kPiece) {
    const int64_t end = std::min(begin + kPiece, weights);
    if (cpu::LargestMagnitude(fp16 + begin, end - begin) <= largest) continue;
    for (int64_t i = begin; i < end && entry < layout.side_count; ++i) {
      if ((fp16[i] & 0x7FFF) <= largest) continue;
      const auto position = static_cast<uint32_t>(i);
      std::memcpy(positions + entry * 4, &position, sizeof(position));
      std::memcpy(values + entry * 2, &fp16[i], sizeof(fp16[i]));
      ++entry;
    }
  }
}

}  // namespace tightfit
