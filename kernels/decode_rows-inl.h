// Decoding of rows: whole vectors where they fit, the ends of a range through a copy of a few
// groups. Included once per instruction set (hwy/foreach_target.h).

#if defined(TIGHTFIT_KERNELS_DECODE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_DECODE_ROWS_INL_H_
#undef TIGHTFIT_KERNELS_DECODE_ROWS_INL_H_
#else
#define TIGHTFIT_KERNELS_DECODE_ROWS_INL_H_
#endif

#include "kernels/codec_cpu.h"
#include "kernels/fp16_vectors-inl.h"
#include "kernels/plane-inl.h"
#include "kernels/row_scales-inl.h"

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Most codecs do not depend on the tensor.
template <class Codec>
HWY_INLINE Codec MakeCodec(uint16_t tensor_scale) {
  if constexpr (std::is_constructible_v<Codec, D8, uint16_t>) {
    return Codec(D8(), tensor_scale);
  } else {
    (void)tensor_scale;
    return Codec(D8());
  }
}

// Decodes Lanes(D8) weights at a time; with its constants in registers.
template <class Codec, class Factors, class Target>
class Decoder {
 public:
  static constexpr int64_t kWeights = hn::MaxLanes(D8());
  static constexpr int64_t kLowBytes = kWeights * Codec::kLowBits / 8;
  static constexpr int64_t kHighBytes = kWeights * Codec::kHighBits / 8;
  using Out = typename Target::Out;

  explicit HWY_INLINE Decoder(uint16_t tensor_scale)
      : codec_(MakeCodec<Codec>(tensor_scale)), low_plane_(D8()), high_plane_(D8()) {}

  // Reads kLowBytes bytes at `low`, kHighBytes at `high`; writes kWeights numbers. `column` is that
  // of the first weight.
  HWY_INLINE void Decode(const uint8_t* low, const uint8_t* high, const Factors& factors,
                         int64_t column, Out* out) const {
    StorePair(Patterns(low, high), factors, column, out);
  }

  // The same for `count` < kWeights weights beginning at the `skip`-th of the group at `low`,
  // skip + count <= kWeights. Reads whole groups only and writes `count` numbers. `column` is that
  // of the group.
  HWY_NOINLINE void DecodePart(const uint8_t* low, const uint8_t* high, const Factors& factors,
                               int64_t column, int64_t skip, int64_t count, Out* out) const {
    HWY_ALIGN uint8_t low_part[kWeights * 2] = {};
    HWY_ALIGN uint8_t high_part[kWeights] = {};
    HWY_ALIGN Out decoded[kWeights];
    const int64_t groups = (skip + count + kGroupWeights - 1) / kGroupWeights;
    std::memcpy(low_part, low, groups * kGroupWeights * Codec::kLowBits / 8);
    if constexpr (Codec::kHighBits != 0) {
      std::memcpy(high_part, high, groups * kGroupWeights * Codec::kHighBits / 8);
    }
    StorePair(Patterns(low_part, high_part), factors, column, decoded);
    std::memcpy(out, decoded + skip, count * sizeof(Out));
  }

 private:
  HWY_INLINE PatternPair Patterns(const uint8_t* low, const uint8_t* high) const {
    if constexpr (Codec::kLowBits == 16) {
      const auto* const codes = reinterpret_cast<const uint16_t*>(low);
      return {.first = Codec::Decode16(hn::LoadU(D16(), codes)),
              .second = Codec::Decode16(hn::LoadU(D16(), codes + kWeights / 2))};
    } else {
      return codec_.Decode(low_plane_.Load(low), high_plane_.Load(high));
    }
  }

  static HWY_INLINE void StorePair(PatternPair patterns, const Factors& factors, int64_t column,
                                   Out* out) {
    Store(patterns.first, factors, column, out);
    Store(patterns.second, factors, column + kWeights / 2, out + kWeights / 2);
  }

  static HWY_INLINE void Store(V16 pattern, const Factors& factors, int64_t column, Out* out) {
    if constexpr (Codec::kIsScaled) pattern = Codec::Value(pattern, factors.At(column));
    (void)factors;
    (void)column;
    Target::template Store<Codec::kIsExactInBf16>(pattern, out);
  }

  static constexpr int kLowPlaneBits = Codec::kLowBits == 16 ? 0 : Codec::kLowBits;

  Codec codec_;
  Plane<kLowPlaneBits, D8> low_plane_;
  Plane<Codec::kHighBits, D8> high_plane_;
};

// Asks for codes that are decoded soon, wherever that is: an address past the tensor does no harm.
// A page ahead, because hardware prefetching stops at the end of one; measured on Sapphire Rapids,
// tiles of 4 KiB of codes from memory decode 1.4 times as fast.
HWY_INLINE void PrefetchCodes(const uint8_t* codes) {
  constexpr uintptr_t kAheadBytes = 4096;
  hwy::Prefetch(reinterpret_cast<const uint8_t*>(reinterpret_cast<uintptr_t>(codes) + kAheadBytes));
}

template <class Codec, class Factors, class Target>
HWY_NOINLINE void DecodeRows(const PackedRows<const uint8_t>& rows, int64_t first_column,
                             int64_t column_count, typename Target::Out* out) {
  using RowDecoder = Decoder<Codec, Factors, Target>;
  const RowDecoder decoder(rows.tensor_scale);
  constexpr int64_t kWeights = RowDecoder::kWeights;
  constexpr int64_t kLowGroupBytes = kGroupWeights * Codec::kLowBits / 8;
  constexpr int64_t kHighGroupBytes = kGroupWeights * Codec::kHighBits / 8;
  const int64_t first_group = first_column / kGroupWeights;
  const int64_t skip = first_column % kGroupWeights;
  for (int64_t row = 0; row < rows.row_count; ++row) {
    const auto factors = FactorsOfRow<Codec, Factors>(rows, row);
    const uint8_t* low = rows.low + row * rows.low_row_bytes + first_group * kLowGroupBytes;
    const uint8_t* high = rows.high + row * rows.high_row_bytes + first_group * kHighGroupBytes;
    int64_t column = first_group * kGroupWeights;
    int64_t left = column_count;
    if (skip != 0) {
      const int64_t head = std::min(left, kGroupWeights - skip);
      decoder.DecodePart(low, high, factors, column, skip, head, out);
      low += kLowGroupBytes;
      high += kHighGroupBytes;
      column += kGroupWeights;
      out += head;
      left -= head;
    }
    for (; left >= kWeights; left -= kWeights) {
      PrefetchCodes(low);
      if constexpr (Codec::kHighBits != 0) PrefetchCodes(high);
      decoder.Decode(low, high, factors, column, out);
      low += RowDecoder::kLowBytes;
      high += RowDecoder::kHighBytes;
      column += kWeights;
      out += kWeights;
    }
    if (left > 0) {
      decoder.DecodePart(low, high, factors, column, 0, left, out);
      out += left;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_DECODE_ROWS_INL_H_
