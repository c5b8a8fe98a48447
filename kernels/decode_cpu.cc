#include "kernels/codec_cpu.h"

// Highway avoids its plain C++ target, the fallback without SSSE3, before GCC 12.3 for the sake of
// 16-bit high multiplication (GCC bug 106322), which no codec here has. A test runs every target.
#define HWY_BROKEN_EMU128 0

// This file compiles itself once per instruction set; the order of these includes matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/decode_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/codec_choice-inl.h"
#include "kernels/decode_rows-inl.h"
#include "kernels/tensor_float_codec-inl.h"
// clang-format on

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

// Twice as fast as WithChoice's way for these formats; false where it is not open.
template <class Target>
HWY_INLINE bool DecodeByTables(WeightFormat format, const PackedRows<const uint8_t>& rows,
                               int64_t first_column, int64_t column_count,
                               typename Target::Out* out) {
  const auto decode = [&]<class Codec>(std::type_identity<Codec>) {
    if (!Codec::Takes(rows.tensor_scale)) return false;
    DecodeRows<Codec, NoFactors, Target>(rows, first_column, column_count, out);
    return true;
  };
  switch (format) {
    case WeightFormat::kE2m5:
      return decode(std::type_identity<TensorFloat8<2, 5>>());
    case WeightFormat::kE3m4:
      return decode(std::type_identity<TensorFloat8<3, 4>>());
    case WeightFormat::kE4m3:
      return decode(std::type_identity<TensorFloat8<4, 3>>());
    default:
      return false;
  }
}

template <class Target>
HWY_INLINE void DecodeTo(WeightFormat format, const PackedRows<const uint8_t>& rows,
                         int64_t first_column, int64_t column_count, typename Target::Out* out) {
  if (DecodeByTables<Target>(format, rows, first_column, column_count, out)) return;
  WithChoice(format, [&](auto choice) {
    using Chosen = decltype(choice);
    DecodeRows<typename Chosen::Codec, typename Chosen::template Factors<ToDecode>, Target>(
        rows, first_column, column_count, out);
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

const char* TargetName() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tightfit {
namespace cpu {

HWY_EXPORT(DecodeToFp16);
HWY_EXPORT(DecodeToBf16);
HWY_EXPORT(DecodeToFp32);
HWY_EXPORT(TargetName);

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

const char* SimdTargetName() { return HWY_DYNAMIC_DISPATCH(TargetName)(); }

}  // namespace cpu
}  // namespace tightfit
#endif  // HWY_ONCE
