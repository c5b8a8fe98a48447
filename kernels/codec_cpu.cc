#include "kernels/codec_cpu.h"

#include <algorithm>
#include <bit>

namespace tightfit {
namespace cpu {
namespace {

struct Hf8x {
  static constexpr int kHighBits = 0;
  static uint32_t Encode(uint32_t fp16) {
    const uint32_t magnitude = fp16 & 0x7FFF;
    return (fp16 >> 15) << 7 | (magnitude + 63 + (magnitude >> 7 & 1)) >> 7;
  }
  static uint32_t Decode(uint32_t code) { return code >> 7 << 15 | (code & 0x7F) << 7; }
};

template <int kMantissaBits>
struct Hf {
  static constexpr int kHighBits = kMantissaBits - 4;
  static constexpr int kShift = 10 - kMantissaBits;

  static uint32_t Encode(uint32_t fp16) {
    const uint32_t magnitude = fp16 & 0x7FFF;
    const bool fine = magnitude >= 0x1000 && magnitude < 0x2C00;
    const int dropped = fine ? kShift : kShift + 3;
    // What is dropped is cleared: a coarse binade may carry into a fine one.
    const uint32_t rounded =
        (magnitude + (1u << (dropped - 1)) - 1 + (magnitude >> dropped & 1)) >> dropped << dropped;
    const uint32_t sign = (fp16 >> 15) << (kMantissaBits + 3);
    if (rounded >= 0x1000 && rounded < 0x2C00) return sign | (rounded - 0x0C00) >> kShift;
    const uint32_t selector = ((rounded >> 10) + (rounded >> 13)) & 7;
    return sign | (rounded >> kShift & ((1u << kMantissaBits) - 8)) | selector;
  }

  static uint32_t Decode(uint32_t code) {
    const uint32_t sign = code >> (kMantissaBits + 3) << 15;
    const uint32_t aligned = code << kShift & 0x1FFF;
    if (aligned >= 0x400) return sign | (aligned + 0x0C00);
    const uint32_t selector = code & 7;
    const uint32_t exponent = selector < 4 ? selector : selector + 7;
    return sign | exponent << 10 | (aligned & (0x400u - (8u << kShift)));
  }
};

// Weight i of a row: which byte of the high plane, and from which bit.
template <int kHighBits>
struct HighPlace {
  static constexpr int kGroupBytes = 16 * kHighBits / 8;
  explicit HighPlace(int64_t i)
      : byte(i / 16 * kGroupBytes + i % kGroupBytes),
        shift(static_cast<int>(i % 16 / kGroupBytes) * kHighBits) {}
  int64_t byte;
  int shift;
};

template <typename Codec>
void Encode(const PackedRows<uint8_t>& rows, int64_t columns, const uint16_t* fp16) {
  for (int64_t row = 0; row < rows.row_count; ++row) {
    uint8_t* low = rows.low + row * rows.low_row_bytes;
    uint8_t* high = rows.high + row * rows.high_row_bytes;
    std::fill(low, low + rows.low_row_bytes, uint8_t{0});
    std::fill(high, high + rows.high_row_bytes, uint8_t{0});
    for (int64_t i = 0; i < columns; ++i) {
      const uint32_t code = Codec::Encode(*fp16++);
      low[i] = static_cast<uint8_t>(code);
      if constexpr (Codec::kHighBits != 0) {
        const HighPlace<Codec::kHighBits> place(i);
        high[place.byte] |= static_cast<uint8_t>(code >> 8 << place.shift);
      }
    }
  }
}

float WidenFp16(uint32_t fp16) {
  const uint32_t sign = (fp16 & 0x8000) << 16;
  const uint32_t magnitude = (fp16 & 0x7FFF) << 13;
  // Exact for subnormals too: 2^-14 plus the subnormal is an fp32 normal.
  const float value = magnitude < 0x00800000
                          ? std::bit_cast<float>(magnitude + 0x38800000) - 0x1p-14f
                          : std::bit_cast<float>(magnitude + 0x38000000);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

uint16_t NarrowToBf16(uint32_t fp16) {
  const uint32_t bits = std::bit_cast<uint32_t>(WidenFp16(fp16));
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

template <typename Codec, typename Out, typename Convert>
void Decode(const PackedRows<const uint8_t>& rows, int64_t first, int64_t count, Out* out,
            Convert convert) {
  for (int64_t row = 0; row < rows.row_count; ++row) {
    const uint8_t* low = rows.low + row * rows.low_row_bytes;
    const uint8_t* high = rows.high + row * rows.high_row_bytes;
    for (int64_t i = first; i < first + count; ++i) {
      uint32_t code = low[i];
      if constexpr (Codec::kHighBits != 0) {
        const HighPlace<Codec::kHighBits> place(i);
        code |= (high[place.byte] >> place.shift & ((1u << Codec::kHighBits) - 1)) << 8;
      }
      *out++ = convert(Codec::Decode(code));
    }
  }
}

template <typename Function>
void WithCodec(WeightFormat format, Function function) {
  switch (format) {
    case WeightFormat::kHf8:
      return function(Hf<4>());
    case WeightFormat::kHf8x:
      return function(Hf8x());
    case WeightFormat::kHf10:
      return function(Hf<6>());
    case WeightFormat::kHf12:
      return function(Hf<8>());
  }
}

}  // namespace

void EncodeRows(WeightFormat format, const PackedRows<uint8_t>& rows, int64_t columns,
                const uint16_t* fp16) {
  WithCodec(format, [&](auto codec) { Encode<decltype(codec)>(rows, columns, fp16); });
}

void DecodeToFp16(WeightFormat format, const PackedRows<const uint8_t>& rows, int64_t first_column,
                  int64_t column_count, uint16_t* out) {
  WithCodec(format, [&](auto codec) {
    Decode<decltype(codec)>(rows, first_column, column_count, out,
                            [](uint32_t fp16) { return static_cast<uint16_t>(fp16); });
  });
}

void DecodeToBf16(WeightFormat format, const PackedRows<const uint8_t>& rows, int64_t first_column,
                  int64_t column_count, uint16_t* out) {
  WithCodec(format, [&](auto codec) {
    Decode<decltype(codec)>(rows, first_column, column_count, out, NarrowToBf16);
  });
}

void DecodeToFp32(WeightFormat format, const PackedRows<const uint8_t>& rows, int64_t first_column,
                  int64_t column_count, float* out) {
  WithCodec(format, [&](auto codec) {
    Decode<decltype(codec)>(rows, first_column, column_count, out, WidenFp16);
  });
}

Representability CountUnrepresentable(uint16_t largest, const uint16_t* fp16, int64_t count) {
  Representability counts;
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t magnitude = fp16[i] & 0x7FFF;
    counts.nan_count += magnitude > 0x7C00;
    counts.infinity_count += magnitude == 0x7C00;
    counts.out_of_range_count += magnitude > largest && magnitude < 0x7C00;
  }
  return counts;
}

}  // namespace cpu

const char* SimdTargetName() { return "scalar"; }

}  // namespace tightfit
