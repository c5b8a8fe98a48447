// Where the bits of a tensor's codes, scales and side list lie.
#include "kernels/codec_reference.h"
#include "kernels/codec_reference_parts.h"

#include <hwy/base.h>

namespace tightfit::reference {
namespace {

// Bits of one plane: groups of sixteen weights, whose byte j holds weight j, j + n, j + 2n, ... in
// its bits from the lowest up, n = 2 * bits being the bytes of a group.
class Plane {
 public:
  Plane(int64_t offset_bytes, int64_t row_bytes, int bits)
      : offset_bytes_(offset_bytes), row_bytes_(row_bytes), bits_(bits) {}

  void Store(std::span<uint8_t> packed, int64_t row, int64_t column, uint32_t value) const {
    if (bits_ == 0) return;
    if (bits_ == 16) {
      StoreU16(packed.subspan(Byte(row, column)), static_cast<uint16_t>(value));
      return;
    }
    packed[Byte(row, column)] |= static_cast<uint8_t>(value << Shift(column));
  }

  uint32_t Load(std::span<const uint8_t> packed, int64_t row, int64_t column) const {
    if (bits_ == 0) return 0;
    if (bits_ == 16) return LoadU16(packed.subspan(Byte(row, column)));
    return packed[Byte(row, column)] >> Shift(column) & ((1u << bits_) - 1);
  }

 private:
  int64_t Byte(int64_t row, int64_t column) const {
    const int64_t group_bytes = 2 * bits_;
    const int64_t group = column / kGroupWeights;
    const int64_t place = column % kGroupWeights;
    const int64_t in_group = bits_ == 16 ? 2 * place : place % group_bytes;
    return offset_bytes_ + row * row_bytes_ + group * group_bytes + in_group;
  }
  int Shift(int64_t column) const {
    const int64_t group_bytes = 2 * bits_;
    return bits_ * static_cast<int>(column % kGroupWeights / group_bytes);
  }

  int64_t offset_bytes_;
  int64_t row_bytes_;
  int bits_;
};

Plane LowPlane(const PackedLayout& layout) {
  return Plane(0, layout.low_row_bytes, InfoOf(layout.format).low_plane_bits);
}

Plane HighPlane(const PackedLayout& layout) {
  return Plane(layout.high_plane_offset_bytes, layout.high_row_bytes,
               InfoOf(layout.format).high_plane_bits);
}

void StorePlanes(const PackedLayout& layout, std::span<const uint32_t> codes,
                 std::span<uint8_t> packed) {
  const int low_bits = InfoOf(layout.format).low_plane_bits;
  for (int64_t row = 0; row < layout.code_rows; ++row) {
    for (int64_t column = 0; column < layout.code_columns; ++column) {
      const uint32_t code = codes[row * layout.code_columns + column];
      LowPlane(layout).Store(packed, row, column, code & ((1u << low_bits) - 1));
      HighPlane(layout).Store(packed, row, column, code >> low_bits);
    }
  }
}

std::vector<uint32_t> LoadPlanes(const PackedLayout& layout, std::span<const uint8_t> packed) {
  const int low_bits = InfoOf(layout.format).low_plane_bits;
  std::vector<uint32_t> codes;
  for (int64_t row = 0; row < layout.code_rows; ++row) {
    for (int64_t column = 0; column < layout.code_columns; ++column) {
      codes.push_back(LowPlane(layout).Load(packed, row, column) |
                      HighPlane(layout).Load(packed, row, column) << low_bits);
    }
  }
  return codes;
}

// Radix words, bit by bit: bit b of the part is bit b % 8 of its byte b / 8.
void StoreWords(const PackedLayout& layout, std::span<const uint32_t> digits,
                std::span<uint8_t> packed) {
  const RadixWord word = RadixWordOf(InfoOf(layout.format));
  const auto level_count = static_cast<uint64_t>(InfoOf(layout.format).level_count);
  int64_t bit = 0;
  for (size_t begin = 0; begin < digits.size(); begin += word.digits) {
    uint64_t value = 0;
    uint64_t weight_of_digit = 1;
    for (int i = 0; i < word.digits; ++i) {
      const uint64_t digit = begin + i < digits.size() ? digits[begin + i] : 0;
      value += digit * weight_of_digit;
      weight_of_digit *= level_count;
    }
    for (int i = 0; i < word.bits; ++i, ++bit) {
      packed[bit / 8] |= static_cast<uint8_t>((value >> i & 1) << bit % 8);
    }
  }
}

std::vector<uint32_t> LoadWords(const PackedLayout& layout, std::span<const uint8_t> packed) {
  const RadixWord word = RadixWordOf(InfoOf(layout.format));
  const auto level_count = static_cast<uint64_t>(InfoOf(layout.format).level_count);
  std::vector<uint32_t> digits;
  int64_t bit = 0;
  while (static_cast<int64_t>(digits.size()) < layout.code_columns) {
    uint64_t value = 0;
    for (int i = 0; i < word.bits; ++i, ++bit) {
      value |= static_cast<uint64_t>(packed[bit / 8] >> bit % 8 & 1) << i;
    }
    for (int i = 0; i < word.digits; ++i) {
      digits.push_back(static_cast<uint32_t>(value % level_count));
      value /= level_count;
    }
  }
  digits.resize(layout.code_columns);
  return digits;
}

bool HasWords(const PackedLayout& layout) { return RadixWordOf(InfoOf(layout.format)).digits != 0; }

void StoreSideList(const PackedLayout& layout, std::span<const uint16_t> fp16,
                   std::span<uint8_t> packed) {
  const std::vector<uint32_t> positions = SidePositions(layout.format, layout.exponent_bias, fp16);
  HWY_ASSERT(static_cast<int64_t>(positions.size()) == layout.side_count);
  for (size_t i = 0; i < positions.size(); ++i) {
    StoreU32(packed.subspan(layout.side_position_offset_bytes + 4 * i), positions[i]);
    StoreU16(packed.subspan(layout.side_value_offset_bytes + 2 * i), fp16[positions[i]]);
  }
}

void ApplySideList(const PackedLayout& layout, std::span<const uint8_t> packed,
                   std::span<uint16_t> fp16) {
  for (int64_t i = 0; i < layout.side_count; ++i) {
    const uint32_t position = LoadU32(packed.subspan(layout.side_position_offset_bytes + 4 * i));
    if (position >= fp16.size()) continue;
    fp16[position] = LoadU16(packed.subspan(layout.side_value_offset_bytes + 2 * i));
  }
}

std::vector<uint32_t> EncodeCodes(const PackedLayout& layout, std::span<const uint16_t> fp16,
                                  std::span<uint8_t> packed) {
  const FormatInfo& info = InfoOf(layout.format);
  if (info.scaling == Scaling::kNone) return EncodeWithoutScale(layout, fp16);
  if (info.family == FormatFamily::kNormalFloat) return EncodeNormalFloat(layout, fp16, packed);
  return EncodeScaled(layout, fp16, packed);
}

std::vector<uint16_t> DecodeCodes(const PackedLayout& layout, std::span<const uint32_t> codes,
                                  std::span<const uint8_t> packed) {
  const FormatInfo& info = InfoOf(layout.format);
  if (info.scaling == Scaling::kNone) return DecodeWithoutScale(layout, codes);
  if (info.family == FormatFamily::kNormalFloat) return DecodeNormalFloat(layout, codes, packed);
  return DecodeScaled(layout, codes, packed);
}

}  // namespace

void StoreU16(std::span<uint8_t> bytes, uint16_t value) {
  bytes[0] = static_cast<uint8_t>(value & 0xFF);
  bytes[1] = static_cast<uint8_t>(value >> 8);
}

void StoreU32(std::span<uint8_t> bytes, uint32_t value) {
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<uint8_t>(value >> 8 * i & 0xFF);
}

uint16_t LoadU16(std::span<const uint8_t> bytes) {
  return static_cast<uint16_t>(bytes[0] | bytes[1] << 8);
}

uint32_t LoadU32(std::span<const uint8_t> bytes) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value |= static_cast<uint32_t>(bytes[i]) << 8 * i;
  return value;
}

std::vector<uint8_t> EncodeTensor(const PackedLayout& layout, std::span<const uint16_t> fp16) {
  HWY_ASSERT(static_cast<int64_t>(fp16.size()) == layout.rows * layout.columns);
  std::vector<uint8_t> packed(layout.total_bytes, 0);
  const std::vector<uint32_t> codes = EncodeCodes(layout, fp16, packed);
  if (HasWords(layout)) {
    StoreWords(layout, codes, packed);
  } else {
    StorePlanes(layout, codes, packed);
  }
  if (InfoOf(layout.format).scaling == Scaling::kTensor) StoreSideList(layout, fp16, packed);
  return packed;
}

std::vector<uint16_t> DecodeTensor(const PackedLayout& layout, std::span<const uint8_t> packed) {
  HWY_ASSERT(static_cast<int64_t>(packed.size()) == layout.total_bytes);
  const std::vector<uint32_t> codes =
      HasWords(layout) ? LoadWords(layout, packed) : LoadPlanes(layout, packed);
  std::vector<uint16_t> fp16 = DecodeCodes(layout, codes, packed);
  ApplySideList(layout, packed, fp16);
  return fp16;
}

}  // namespace tightfit::reference
