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

#include "kernels/decode_rows-inl.h"
#include "kernels/encode_rows-inl.h"
#include "kernels/hf_codec-inl.h"
// clang-format on

#include <algorithm>
#include <cstdint>
#include <type_traits>

// Vectors are members of classes and their lengths constants below.
#if HWY_HAVE_SCALABLE || HWY_TARGET == HWY_SCALAR
#error "needs vectors of a fixed length of at least 16 bytes"
#endif

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The format chooses the codec, by its type: no vector passes through the function.

template <class Function>
HWY_INLINE void WithCodec(WeightFormat format, Function function) {
  switch (format) {
    case WeightFormat::kHf8:
      return function(std::type_identity<Hf<4, D8>>());
    case WeightFormat::kHf8x:
      return function(std::type_identity<Hf8x<D8>>());
    case WeightFormat::kHf10:
      return function(std::type_identity<Hf<6, D8>>());
    case WeightFormat::kHf12:
      return function(std::type_identity<Hf<8, D8>>());
  }
}

void EncodeRows(WeightFormat format, const PackedRows<uint8_t>& rows, int64_t columns,
                const uint16_t* fp16) {
  WithCodec(format,
            [&](auto codec) { EncodeRowsOf<typename decltype(codec)::type>(rows, columns, fp16); });
}

template <class Target>
HWY_INLINE void DecodeTo(WeightFormat format, const PackedRows<const uint8_t>& rows,
                         int64_t first_column, int64_t column_count, typename Target::Out* out) {
  WithCodec(format, [&](auto codec) {
    DecodeRows<typename decltype(codec)::type, Target>(rows, first_column, column_count, out);
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
