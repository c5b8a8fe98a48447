// Encoding of rows, 64 weights at a time, and the padding at their ends. Included once per
// instruction set (hwy/foreach_target.h).

#if defined(TIGHTFIT_KERNELS_ENCODE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_ENCODE_ROWS_INL_H_
#undef TIGHTFIT_KERNELS_ENCODE_ROWS_INL_H_
#else
#define TIGHTFIT_KERNELS_ENCODE_ROWS_INL_H_
#endif

#include "kernels/codec_cpu.h"
#include "kernels/fp16_output-inl.h"
#include "kernels/high_plane-inl.h"

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Encodes 64 weights: their low-plane bytes, and the four groups of the high plane.
constexpr int64_t kEncodedWeights = 64;

template <class Codec>
HWY_INLINE void Encode64(const uint16_t* HWY_RESTRICT fp16, uint8_t* HWY_RESTRICT low,
                         uint8_t* HWY_RESTRICT high) {
  const D16 d;
  const hn::Rebind<uint8_t, D16> narrow;
  HWY_ALIGN uint8_t high_bits[kEncodedWeights];
  for (int64_t i = 0; i < kEncodedWeights; i += static_cast<int64_t>(hn::Lanes(d))) {
    const auto code = Codec::Encode(hn::LoadU(d, fp16 + i));
    hn::StoreU(hn::TruncateTo(narrow, code), narrow, low + i);
    if constexpr (Codec::kHighBits != 0) {
      hn::StoreU(hn::TruncateTo(narrow, hn::ShiftRight<8>(code)), narrow, high_bits + i);
    }
  }
  if constexpr (Codec::kHighBits != 0) {
    for (int64_t group = 0; group < kEncodedWeights / kGroupWeights; ++group) {
      PackHighGroup<Codec::kHighBits>(high_bits + group * kGroupWeights,
                                      high + group * kGroupWeights * Codec::kHighBits / 8);
    }
  }
}

template <class Codec>
HWY_NOINLINE void EncodeRowsOf(const PackedRows<uint8_t>& rows, int64_t columns,
                               const uint16_t* fp16) {
  constexpr int64_t kHighBytes = kEncodedWeights * Codec::kHighBits / 8;
  for (int64_t row = 0; row < rows.row_count; ++row) {
    uint8_t* low = rows.low + row * rows.low_row_bytes;
    uint8_t* low_end = low + rows.low_row_bytes;
    uint8_t* high = rows.high + row * rows.high_row_bytes;
    uint8_t* high_end = high + rows.high_row_bytes;
    int64_t left = columns;
    for (; left >= kEncodedWeights; left -= kEncodedWeights) {
      Encode64<Codec>(fp16, low, high);
      fp16 += kEncodedWeights;
      low += kEncodedWeights;
      high += kHighBytes;
    }
    if (left == 0) continue;  // 64 weights fill both planes without padding
    // The rest, filled up with +0, whose code is 0. Rows are padded to less than 64 weights' bytes.
    uint16_t part[kEncodedWeights] = {};
    uint8_t low_part[kEncodedWeights];
    uint8_t high_part[kEncodedWeights] = {};
    std::memcpy(part, fp16, left * sizeof(uint16_t));
    fp16 += left;
    Encode64<Codec>(part, low_part, high_part);
    std::memcpy(low, low_part, low_end - low);
    if constexpr (Codec::kHighBits != 0) std::memcpy(high, high_part, high_end - high);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_ENCODE_ROWS_INL_H_
