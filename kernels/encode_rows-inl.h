// Encoding of rows, 64 weights at a time, and the padding at their ends. Included once per
// instruction set (hwy/foreach_target.h).

#if defined(TIGHTFIT_KERNELS_ENCODE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_ENCODE_ROWS_INL_H_
#undef TIGHTFIT_KERNELS_ENCODE_ROWS_INL_H_
#else
#define TIGHTFIT_KERNELS_ENCODE_ROWS_INL_H_
#endif

#include "kernels/codec_cpu.h"
#include "kernels/fp16_vectors-inl.h"
#include "kernels/plane-inl.h"
#include "kernels/row_scales-inl.h"

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Encodes 64 weights, four groups of each plane.
constexpr int64_t kEncodedWeights = 64;

// Bits of codes, one weight a byte, into a plane.
template <int kBits>
HWY_INLINE void PackGroups(const uint8_t* HWY_RESTRICT bits, uint8_t* HWY_RESTRICT plane) {
  for (int64_t group = 0; group < kEncodedWeights / kGroupWeights; ++group) {
    PackGroup<kBits>(bits + group * kGroupWeights, plane + group * kGroupWeights * kBits / 8);
  }
}

template <class Codec, class Factors>
HWY_INLINE void Encode64(const uint16_t* HWY_RESTRICT fp16, const Factors& factors, int64_t column,
                         uint8_t* HWY_RESTRICT low, uint8_t* HWY_RESTRICT high) {
  const D16 d;
  const hn::Rebind<uint8_t, D16> narrow;
  HWY_ALIGN uint8_t low_bits[kEncodedWeights];
  HWY_ALIGN uint8_t high_bits[kEncodedWeights];
  for (int64_t i = 0; i < kEncodedWeights; i += static_cast<int64_t>(hn::Lanes(d))) {
    const V16 input = hn::LoadU(d, fp16 + i);
    V16 code;
    if constexpr (Codec::kIsScaled) {
      code = Codec::Encode(input, factors.At(column + i));
    } else {
      code = Codec::Encode(input);
    }
    if constexpr (Codec::kLowBits == 16) {
      hn::StoreU(code, d, reinterpret_cast<uint16_t*>(low) + i);
    } else if constexpr (Codec::kLowBits == 8) {
      hn::StoreU(hn::TruncateTo(narrow, code), narrow, low + i);
    } else {
      const V16 low_code = hn::And(code, hn::Set(d, (1 << Codec::kLowBits) - 1));
      hn::StoreU(hn::TruncateTo(narrow, low_code), narrow, low_bits + i);
    }
    if constexpr (Codec::kHighBits != 0) {
      hn::StoreU(hn::TruncateTo(narrow, hn::ShiftRight<Codec::kLowBits>(code)), narrow,
                 high_bits + i);
    }
  }
  if constexpr (Codec::kLowBits < 8) PackGroups<Codec::kLowBits>(low_bits, low);
  if constexpr (Codec::kHighBits != 0) PackGroups<Codec::kHighBits>(high_bits, high);
}

template <class Codec, class Factors>
HWY_NOINLINE void EncodeRowsOf(const PackedRows<uint8_t>& rows, int64_t columns,
                               const uint16_t* fp16) {
  constexpr int64_t kLowBytes = kEncodedWeights * Codec::kLowBits / 8;
  constexpr int64_t kHighBytes = kEncodedWeights * Codec::kHighBits / 8;
  for (int64_t row = 0; row < rows.row_count; ++row) {
    const auto factors = FactorsOfRow<Codec, Factors>(rows, row);
    uint8_t* low = rows.low + row * rows.low_row_bytes;
    uint8_t* low_end = low + rows.low_row_bytes;
    uint8_t* high = rows.high + row * rows.high_row_bytes;
    uint8_t* high_end = high + rows.high_row_bytes;
    int64_t column = 0;
    for (; columns - column >= kEncodedWeights; column += kEncodedWeights) {
      Encode64<Codec>(fp16 + column, factors, column, low, high);
      low += kLowBytes;
      high += kHighBytes;
    }
    if (column < columns) {
      // The rest, filled up with +0, whose code is 0. Rows are padded to at most 64 weights' bytes.
      uint16_t part[kEncodedWeights] = {};
      uint8_t low_part[kEncodedWeights * 2];
      uint8_t high_part[kEncodedWeights] = {};
      std::memcpy(part, fp16 + column, (columns - column) * sizeof(uint16_t));
      Encode64<Codec>(part, factors, column, low_part, high_part);
      std::memcpy(low, low_part, low_end - low);
      if constexpr (Codec::kHighBits != 0) std::memcpy(high, high_part, high_end - high);
    }
    fp16 += columns;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_ENCODE_ROWS_INL_H_
