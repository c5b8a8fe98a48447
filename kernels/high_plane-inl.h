// The high plane of 10- and 12-bit formats: from groups of 16 weights to one weight a byte lane,
// and back. Included once per instruction set (hwy/foreach_target.h).
//
// A group takes 16 * kHighBits / 8 bytes. Read as 32-bit words, its `kWords` words hold weights
// 0..3, then (with 4 bits) 4..7 in their bytes' lowest bits, the following weights in the bits
// above.

#if defined(TIGHTFIT_KERNELS_HIGH_PLANE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_HIGH_PLANE_INL_H_
#undef TIGHTFIT_KERNELS_HIGH_PLANE_INL_H_
#else
#define TIGHTFIT_KERNELS_HIGH_PLANE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Which eight weights of a vector a 64-bit lane takes so that interleaving two byte vectors within
// 128-bit blocks gives words in order: the lower half's vectors even lanes, the upper half's odd
// ones.
constexpr size_t EightWeightsOfLane(size_t lane, size_t lanes) {
  return lane / 2 + (lane % 2) * (lanes / 2);
}

// Loads Lanes(d) weights' high bits in the order of EightWeightsOfLane.
template <int kHighBits, class D8>
class HighPlane {
 public:
  static constexpr size_t kLanes = hn::MaxLanes(D8());
  static constexpr size_t kBytes = kLanes * kHighBits / 8;

  explicit HWY_INLINE HighPlane(D8 /*d*/) {
    constexpr size_t kWords = kHighBits / 2;
    constexpr size_t kLanes32 = kLanes / 4;
    HWY_ALIGN int32_t word[kLanes32];
    HWY_ALIGN uint32_t shift[kLanes32];
    for (size_t lane = 0; lane < kLanes32; ++lane) {
      const size_t four_weights = 2 * EightWeightsOfLane(lane / 2, kLanes32 / 2) + lane % 2;
      const size_t place = four_weights % 4;
      word[lane] = static_cast<int32_t>(four_weights / 4 * kWords + place % kWords);
      shift[lane] = static_cast<uint32_t>(place / kWords * kHighBits);
    }
    const D32 d32;
    word_ = hn::SetTableIndices(d32, word);
    shift_ = hn::Load(d32, shift);
  }

  HWY_INLINE hn::Vec<D8> Load(const uint8_t* high) const {
    const D8 d;
    const D32 d32;
    const auto words = hn::TableLookupLanes(hn::BitCast(d32, LoadBytes(high)), word_);
    const auto bits = hn::BitCast(d, hn::Shr(words, shift_));
    return hn::And(bits, hn::Set(d, (1 << kHighBits) - 1));
  }

 private:
  using D32 = hn::Repartition<uint32_t, D8>;

  // kBytes bytes from `high` into the vector's beginning; what follows does not matter.
  static HWY_INLINE hn::Vec<D8> LoadBytes(const uint8_t* high) {
    const D8 d;
    if constexpr (kBytes == 32) {
      return hn::ZeroExtendVector(d, hn::LoadU(hn::Half<D8>(), high));
    } else if constexpr (kBytes == 16) {
      return hn::LoadDup128(d, high);
    } else if constexpr (kBytes == 8) {
      uint64_t bytes;
      std::memcpy(&bytes, high, sizeof(bytes));
      return hn::BitCast(d, hn::Set(hn::Repartition<uint64_t, D8>(), bytes));
    } else {
      static_assert(kBytes == 4);
      uint32_t bytes;
      std::memcpy(&bytes, high, sizeof(bytes));
      return hn::BitCast(d, hn::Set(D32(), bytes));
    }
  }

  decltype(hn::SetTableIndices(D32(), static_cast<const int32_t*>(nullptr))) word_;
  hn::Vec<D32> shift_;
};

// Formats of one plane: nothing to load.
template <class D8>
class HighPlane<0, D8> {
 public:
  explicit HWY_INLINE HighPlane(D8 /*d*/) {}
  HWY_INLINE hn::Vec<D8> Load(const uint8_t* /*high*/) const { return hn::Zero(D8()); }
};

// Packs the high bits of one group, one weight a byte (upper bits zero), into the plane.
template <int kHighBits>
HWY_INLINE void PackHighGroup(const uint8_t* HWY_RESTRICT bits, uint8_t* HWY_RESTRICT high) {
  if constexpr (kHighBits == 4) {
    uint64_t eight[2];
    std::memcpy(eight, bits, sizeof(eight));
    const uint64_t packed = eight[0] | eight[1] << 4;
    std::memcpy(high, &packed, sizeof(packed));
  } else {
    static_assert(kHighBits == 2);
    uint32_t four[4];
    std::memcpy(four, bits, sizeof(four));
    const uint32_t packed = four[0] | four[1] << 2 | four[2] << 4 | four[3] << 6;
    std::memcpy(high, &packed, sizeof(packed));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_HIGH_PLANE_INL_H_
