#include "kernels/codec_cpu.h"

// Highway avoids its plain C++ target, the fallback without SSSE3, before GCC 12.3 for the sake of
// 16-bit high multiplication (GCC bug 106322), which no codec here has. A test runs every target.
#define HWY_BROKEN_EMU128 0

// This file compiles itself once per instruction set; the order of these includes matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codec_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/hf_codec-inl.h"
#include "kernels/high_plane-inl.h"
// clang-format on

#include <algorithm>
#include <cstddef>
#include <cstring>

// Vectors are members of classes and their lengths constants below.
#if HWY_HAVE_SCALABLE || HWY_TARGET == HWY_SCALAR
#error "needs vectors of a fixed length of at least 16 bytes"
#endif

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using D8 = hn::ScalableTag<uint8_t>;
using D16 = hn::ScalableTag<uint16_t>;
using D32f = hn::ScalableTag<float>;

constexpr int64_t kGroupWeights = 16;

// ---- What becomes of decoded fp16 patterns. Bits: the codec's, for what depends on exactness.

struct ToFp16 {
  using Out = uint16_t;
  template <int kBits>
  static HWY_INLINE void Store(hn::Vec<D16> fp16, uint16_t* out) {
    hn::StoreU(fp16, D16(), out);
  }
};

// fp32 lanes of the lower and the upper half: exact, subnormals included.
struct WideHalves {
  hn::Vec<D32f> lower;
  hn::Vec<D32f> upper;
};

HWY_INLINE WideHalves Widen(hn::Vec<D16> fp16) {
  const D32f d32;
  const hn::Half<D16> half;
  const hn::Rebind<hwy::float16_t, D32f> narrow;
  return {.lower = hn::PromoteTo(d32, hn::BitCast(narrow, hn::LowerHalf(half, fp16))),
          .upper = hn::PromoteTo(d32, hn::BitCast(narrow, hn::UpperHalf(half, fp16)))};
}

struct ToFp32 {
  using Out = float;
  template <int kBits>
  static HWY_INLINE void Store(hn::Vec<D16> fp16, float* out) {
    const WideHalves wide = Widen(fp16);
    hn::StoreU(wide.lower, D32f(), out);
    hn::StoreU(wide.upper, D32f(), out + hn::Lanes(D32f()));
  }
};

struct ToBf16 {
  using Out = uint16_t;
  template <int kBits>
  static HWY_INLINE void Store(hn::Vec<D16> fp16, uint16_t* out) {
    const D16 d;
    if constexpr (kBits == 12) {
      // Normal hf12 values have eight mantissa bits, one more than bf16, and it is bit 2 here: a
      // tie where it is set. Adding it to itself if bit 3 is odd rounds to even; without a tie the
      // sum only sets bit 2, which is then cut off. Subnormals have neither bit.
      fp16 = hn::Add(fp16, hn::And(hn::ShiftRight<1>(fp16), hn::Set(d, 4)));
    }
    const WideHalves wide = Widen(fp16);
    hn::StoreU(hn::ConcatOdd(d, hn::BitCast(d, wide.upper), hn::BitCast(d, wide.lower)), d, out);
  }
};

// ---- Decoding

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

// ---- Encoding

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

// ---- One entry per operation; the format chooses the codec.

template <class Function>
HWY_INLINE void WithCodec(WeightFormat format, Function function) {
  switch (format) {
    case WeightFormat::kHf8:
      return function(Hf<4, D8>(D8()));
    case WeightFormat::kHf8x:
      return function(Hf8x<D8>(D8()));
    case WeightFormat::kHf10:
      return function(Hf<6, D8>(D8()));
    case WeightFormat::kHf12:
      return function(Hf<8, D8>(D8()));
  }
}

void EncodeRows(WeightFormat format, const PackedRows<uint8_t>& rows, int64_t columns,
                const uint16_t* fp16) {
  WithCodec(format, [&](auto codec) { EncodeRowsOf<decltype(codec)>(rows, columns, fp16); });
}

template <class Target>
HWY_INLINE void DecodeTo(WeightFormat format, const PackedRows<const uint8_t>& rows,
                         int64_t first_column, int64_t column_count, typename Target::Out* out) {
  WithCodec(format, [&](auto codec) {
    DecodeRows<decltype(codec), Target>(rows, first_column, column_count, out);
  });
}

void DecodeToFp16(WeightFormat format, const PackedRows<const uint8_t>& rows, int64_t first_column,
                  int64_t column_count, uint16_t* out) {
  DecodeTo<ToFp16>(format, rows, first_column, column_count, out);
}

void DecodeToBf16(WeightFormat format, const PackedRows<const uint8_t>& rows, int64_t first_column,
                  int64_t column_count, uint16_t* out) {
  DecodeTo<ToBf16>(format, rows, first_column, column_count, out);
}

void DecodeToFp32(WeightFormat format, const PackedRows<const uint8_t>& rows, int64_t first_column,
                  int64_t column_count, float* out) {
  DecodeTo<ToFp32>(format, rows, first_column, column_count, out);
}

// ---- What cannot be encoded

bool AllWithin(uint16_t largest, const uint16_t* fp16, int64_t count) {
  const D16 d;
  const hn::RebindToSigned<D16> di;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto magnitude_bits = hn::Set(d, 0x7FFF);
  auto most = hn::Zero(di);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    most = hn::Max(most, hn::BitCast(di, hn::And(hn::LoadU(d, fp16 + i), magnitude_bits)));
  }
  bool within = hn::AllFalse(di, hn::Gt(most, hn::Set(di, static_cast<int16_t>(largest))));
  for (; i < count; ++i) within &= (fp16[i] & 0x7FFF) <= largest;
  return within;
}

const char* TargetName() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tightfit {
namespace cpu {

HWY_EXPORT(EncodeRows);
HWY_EXPORT(DecodeToFp16);
HWY_EXPORT(DecodeToBf16);
HWY_EXPORT(DecodeToFp32);
HWY_EXPORT(AllWithin);
HWY_EXPORT(TargetName);

void EncodeRows(WeightFormat format, const PackedRows<uint8_t>& rows, int64_t columns,
                const uint16_t* fp16) {
  HWY_DYNAMIC_DISPATCH(EncodeRows)(format, rows, columns, fp16);
}

void DecodeToFp16(WeightFormat format, const PackedRows<const uint8_t>& rows, int64_t first_column,
                  int64_t column_count, uint16_t* out) {
  HWY_DYNAMIC_DISPATCH(DecodeToFp16)(format, rows, first_column, column_count, out);
}

void DecodeToBf16(WeightFormat format, const PackedRows<const uint8_t>& rows, int64_t first_column,
                  int64_t column_count, uint16_t* out) {
  HWY_DYNAMIC_DISPATCH(DecodeToBf16)(format, rows, first_column, column_count, out);
}

void DecodeToFp32(WeightFormat format, const PackedRows<const uint8_t>& rows, int64_t first_column,
                  int64_t column_count, float* out) {
  HWY_DYNAMIC_DISPATCH(DecodeToFp32)(format, rows, first_column, column_count, out);
}

Representability CountUnrepresentable(uint16_t largest, const uint16_t* fp16, int64_t count) {
  // Tensors are almost always fine, which a block's largest pattern tells; only a block that is not
  // is counted number by number.
  constexpr int64_t kBlock = 4096;
  Representability counts;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, count);
    if (HWY_DYNAMIC_DISPATCH(AllWithin)(largest, fp16 + begin, end - begin)) continue;
    for (int64_t i = begin; i < end; ++i) {
      const uint16_t magnitude = fp16[i] & 0x7FFF;
      counts.nan_count += magnitude > 0x7C00;
      counts.infinity_count += magnitude == 0x7C00;
      counts.out_of_range_count += magnitude > largest && magnitude < 0x7C00;
    }
  }
  return counts;
}

const char* SimdTargetName() { return HWY_DYNAMIC_DISPATCH(TargetName)(); }

}  // namespace cpu
}  // namespace tightfit
#endif  // HWY_ONCE
