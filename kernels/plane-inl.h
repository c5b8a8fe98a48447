// A plane of codes: from groups of 16 weights to one weight a byte lane, and back. Included once
// per instruction set (hwy/foreach_target.h).
//
// A group takes 16 * kBits / 8 bytes. Of 2 and 4 bits, read as 32-bit words, its kBits / 2 words
// hold weights 0..3, then (with 4 bits) 4..7 in their bytes' lowest bits, the following weights in
// the bits above.

#if defined(TIGHTFIT_KERNELS_PLANE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIGHTFIT_KERNELS_PLANE_INL_H_
#undef TIGHTFIT_KERNELS_PLANE_INL_H_
#else
#define TIGHTFIT_KERNELS_PLANE_INL_H_
#endif

#include "kernels/packed_layout.h"

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Interleaving two byte vectors happens within 128-bit blocks. For the results to come out in
// order, even 64-bit lanes must hold the vector's first half, odd ones its second: lane `lane` of
// `lanes` holds the eight weights of this number.
constexpr size_t EightWeightsOfLane(size_t lane, size_t lanes) {
  return lane / 2 + (lane % 2) * (lanes / 2);
}

// Loads Lanes(d) weights' bits in the order of EightWeightsOfLane. kBits: 2 or 4.
template <int kBits, class D8>
class Plane {
 public:
  static constexpr size_t kLanes = hn::MaxLanes(D8());
  static constexpr size_t kBytes = kLanes * kBits / 8;

  explicit HWY_INLINE Plane(D8 /*d*/) {
    constexpr size_t kWords = kBits / 2;
    constexpr size_t kLanes32 = kLanes / 4;
    HWY_ALIGN int32_t word[kLanes32];
    HWY_ALIGN uint32_t shift[kLanes32];
    for (size_t lane = 0; lane < kLanes32; ++lane) {
      const size_t four_weights = 2 * EightWeightsOfLane(lane / 2, kLanes32 / 2) + lane % 2;
      const size_t place = four_weights % 4;
      word[lane] = static_cast<int32_t>(four_weights / 4 * kWords + place % kWords);
      shift[lane] = static_cast<uint32_t>(place / kWords * kBits);
    }
    const D32 d32;
    word_ = hn::SetTableIndices(d32, word);
    shift_ = hn::Load(d32, shift);
  }

  HWY_INLINE hn::Vec<D8> Load(const uint8_t* plane) const {
    const D8 d;
    const D32 d32;
    const auto words = hn::TableLookupLanes(hn::BitCast(d32, LoadBytes(plane)), word_);
    const auto bits = hn::BitCast(d, hn::Shr(words, shift_));
    return hn::And(bits, hn::Set(d, (1 << kBits) - 1));
  }

 private:
  using D32 = hn::Repartition<uint32_t, D8>;

  // kBytes bytes from `plane` into the vector's beginning; what follows does not matter.
  static HWY_INLINE hn::Vec<D8> LoadBytes(const uint8_t* plane) {
    const D8 d;
    if constexpr (kBytes == 32) {
      return hn::ZeroExtendVector(d, hn::LoadU(hn::Half<D8>(), plane));
    } else if constexpr (kBytes == 16) {
      return hn::LoadDup128(d, plane);
    } else if constexpr (kBytes == 8) {
      uint64_t bytes;
      std::memcpy(&bytes, plane, sizeof(bytes));
      return hn::BitCast(d, hn::Set(hn::Repartition<uint64_t, D8>(), bytes));
    } else {
      static_assert(kBytes == 4);
      uint32_t bytes;
      std::memcpy(&bytes, plane, sizeof(bytes));
      return hn::BitCast(d, hn::Set(D32(), bytes));
    }
  }

  decltype(hn::SetTableIndices(D32(), static_cast<const int32_t*>(nullptr))) word_;
  hn::Vec<D32> shift_;
};

// No plane: nothing to load.
template <class D8>
class Plane<0, D8> {
 public:
  explicit HWY_INLINE Plane(D8 /*d*/) {}
  HWY_INLINE hn::Vec<D8> Load(const uint8_t* /*plane*/) const { return hn::Zero(D8()); }
};

// One weight a byte already.
template <class D8>
class Plane<8, D8> {
 public:
  explicit HWY_INLINE Plane(D8 /*d*/) {
    constexpr size_t kLanes64 = hn::MaxLanes(D8()) / 8;
    HWY_ALIGN int64_t order[kLanes64];
    for (size_t lane = 0; lane < kLanes64; ++lane) {
      order[lane] = static_cast<int64_t>(EightWeightsOfLane(lane, kLanes64));
    }
    order_ = hn::SetTableIndices(D64(), order);
  }

  HWY_INLINE hn::Vec<D8> Load(const uint8_t* plane) const {
    const D8 d;
    return hn::BitCast(d, hn::TableLookupLanes(hn::BitCast(D64(), hn::LoadU(d, plane)), order_));
  }

 private:
  using D64 = hn::Repartition<uint64_t, D8>;

  decltype(hn::SetTableIndices(D64(), static_cast<const int64_t*>(nullptr))) order_;
};

// Packs the bits of one group, one weight a byte (upper bits zero), into a plane of 2 or 4 bits.
template <int kBits>
HWY_INLINE void PackGroup(const uint8_t* HWY_RESTRICT bits, uint8_t* HWY_RESTRICT plane) {
  if constexpr (kBits == 4) {
    uint64_t eight[2];
    std::memcpy(eight, bits, sizeof(eight));
    const uint64_t packed = eight[0] | eight[1] << 4;
    std::memcpy(plane, &packed, sizeof(packed));
  } else {
    static_assert(kBits == 2);
    uint32_t four[4];
    std::memcpy(four, bits, sizeof(four));
    const uint32_t packed = four[0] | four[1] << 2 | four[2] << 4 | four[3] << 6;
    std::memcpy(plane, &packed, sizeof(packed));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#endif  // TIGHTFIT_KERNELS_PLANE_INL_H_
