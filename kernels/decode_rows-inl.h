// Decoding of rows: whole vectors where they fit, the ends of a range through a copy of a few
// groups. Included once per instruction set (hwy/foreach_target.h).

#if defined(TIGHTFIT_KERNELS_DECODE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_DECODE_ROWS_INL_H_
#undef TIGHTFIT_KERNELS_DECODE_ROWS_INL_H_
#else
#define TIGHTFIT_KERNELS_DECODE_ROWS_INL_H_
#endif

#include "kernels/codec_cpu.h"
#include "kernels/fp16_output-inl.h"
#include "kernels/high_plane-inl.h"

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using D8 = hn::ScalableTag<uint8_t>;

// Decodes Lanes(D8) weights at a time; with its constants in registers.
template <class Codec, class Target>
class Decoder {
 public:
  static constexpr int64_t kWeights = hn::MaxLanes(D8());
  static constexpr int64_t kHighBytes = kWeights * Codec::kHighBits / 8;
  using Out = typename Target::Out;

  HWY_INLINE Decoder() : codec_(D8()), high_plane_(D8()) {
    constexpr size_t kLanes64 = kWeights / 8;
    HWY_ALIGN int64_t order[kLanes64];
    for (size_t lane = 0; lane < kLanes64; ++lane) {
      order[lane] = static_cast<int64_t>(EightWeightsOfLane(lane, kLanes64));
    }
    order_ = hn::SetTableIndices(D64(), order);
  }

  // Reads kWeights bytes at `low`, kHighBytes at `high`; writes kWeights numbers.
  HWY_INLINE void Decode(const uint8_t* low, const uint8_t* high, Out* out) const {
    const D8 d;
    const auto ordered = hn::TableLookupLanes(hn::BitCast(D64(), hn::LoadU(d, low)), order_);
    const auto bytes = codec_.Decode(hn::BitCast(d, ordered), high_plane_.Load(high));
    const auto first = hn::InterleaveLower(d, bytes.low, bytes.high);
    const auto second = hn::InterleaveUpper(d, bytes.low, bytes.high);
    Target::template Store<Codec::kBits>(hn::BitCast(D16(), first), out);
    Target::template Store<Codec::kBits>(hn::BitCast(D16(), second), out + kWeights / 2);
  }

  // The same for `count` < kWeights weights beginning at the `skip`-th of the group at `low`,
  // skip + count <= kWeights. Reads whole groups only and writes `count` numbers.
  HWY_NOINLINE void DecodePart(const uint8_t* low, const uint8_t* high, int64_t skip, int64_t count,
                               Out* out) const {
    HWY_ALIGN uint8_t low_part[kWeights] = {};
    HWY_ALIGN uint8_t high_part[kWeights] = {};
    HWY_ALIGN Out decoded[kWeights];
    const int64_t groups = (skip + count + kGroupWeights - 1) / kGroupWeights;
    std::memcpy(low_part, low, groups * kGroupWeights);
    if constexpr (Codec::kHighBits != 0) {
      std::memcpy(high_part, high, groups * kGroupWeights * Codec::kHighBits / 8);
    }
    Decode(low_part, high_part, decoded);
    std::memcpy(out, decoded + skip, count * sizeof(Out));
  }

 private:
  using D64 = hn::Repartition<uint64_t, D8>;

  Codec codec_;
  HighPlane<Codec::kHighBits, D8> high_plane_;
  decltype(hn::SetTableIndices(D64(), static_cast<const int64_t*>(nullptr))) order_;
};

// Asks for codes that are decoded soon, wherever that is: an address past the tensor does no harm.
// A page ahead, because hardware prefetching stops at the end of one; measured on Sapphire Rapids,
// tiles of 4 KiB of codes from memory decode 1.4 times as fast.
HWY_INLINE void PrefetchCodes(const uint8_t* codes) {
  constexpr uintptr_t kAheadBytes = 4096;
  hwy::Prefetch(reinterpret_cast<const uint8_t*>(reinterpret_cast<uintptr_t>(codes) + kAheadBytes));
}

template <class Codec, class Target>
HWY_NOINLINE void DecodeRows(const PackedRows<const uint8_t>& rows, int64_t first_column,
                             int64_t column_count, typename Target::Out* out) {
  const Decoder<Codec, Target> decoder;
  constexpr int64_t kWeights = Decoder<Codec, Target>::kWeights;
  const int64_t first_group = first_column / kGroupWeights;
  const int64_t skip = first_column % kGroupWeights;
  for (int64_t row = 0; row < rows.row_count; ++row) {
    const uint8_t* low = rows.low + row * rows.low_row_bytes + first_group * kGroupWeights;
    const uint8_t* high =
        rows.high + row * rows.high_row_bytes + first_group * kGroupWeights * Codec::kHighBits / 8;
    int64_t left = column_count;
    if (skip != 0) {
      const int64_t head = std::min(left, kGroupWeights - skip);
      decoder.DecodePart(low, high, skip, head, out);
      low += kGroupWeights;
      high += kGroupWeights * Codec::kHighBits / 8;
      out += head;
      left -= head;
    }
    for (; left >= kWeights; left -= kWeights) {
      PrefetchCodes(low);
      if constexpr (Codec::kHighBits != 0) PrefetchCodes(high);
      decoder.Decode(low, high, out);
      low += kWeights;
      high += Decoder<Codec, Target>::kHighBytes;
      out += kWeights;
    }
    if (left > 0) {
      decoder.DecodePart(low, high, 0, left, out);
      out += left;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_DECODE_ROWS_INL_H_
