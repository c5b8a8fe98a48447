#include "kernels/codec_cpu.h"

// Highway avoids its plain C++ target, the fallback without SSSE3, before GCC 12.3 for the sake of
// 16-bit high multiplication (GCC bug 106322), which no codec here has. A test runs every target.
#define HWY_BROKEN_EMU128 0

// This file compiles itself once per instruction set; the order of these includes matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/encode_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/codec_choice-inl.h"
#include "kernels/encode_rows-inl.h"
#include "kernels/row_scale_search-inl.h"
// clang-format on

#include <algorithm>
#include <cstdint>
#include <cstring>

// Vectors are members of classes and their lengths constants below.
#if HWY_HAVE_SCALABLE || HWY_TARGET == HWY_SCALAR
#error "needs vectors of a fixed length of at least 16 bytes"
#endif

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

void EncodeRows(WeightFormat format, const PackedRows<uint8_t>& rows, int64_t columns,
                const uint16_t* fp16) {
  WithChoice(format, [&](auto choice) {
    using Chosen = decltype(choice);
    EncodeRowsOf<typename Chosen::Codec, typename Chosen::template Factors<ToEncode>>(rows, columns,
                                                                                      fp16);
  });
}

uint16_t LargestMagnitude(const uint16_t* fp16, int64_t count) {
  const D16 d;
  const hn::RebindToSigned<D16> di;  // magnitudes are below 2^15
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto most = hn::Zero(di);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const V16 magnitude = hn::And(hn::LoadU(d, fp16 + i), hn::Set(d, 0x7FFF));
    most = hn::Max(most, hn::BitCast(di, magnitude));
  }
  HWY_ALIGN int16_t parts[hn::MaxLanes(D16())];
  hn::Store(most, di, parts);
  int16_t largest = *std::max_element(parts, parts + lanes);
  for (; i < count; ++i) largest = std::max<int16_t>(largest, fp16[i] & 0x7FFF);
  return static_cast<uint16_t>(largest);
}

// Whether each weight is what its code and this scale make of it.
bool IsExactAt(uint16_t scale, const uint16_t* fp16, int64_t count) {
  const D16 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const RowFactor<ToEncode> to_code(&scale, 1, RawInt8::kUnit);
  const RowFactor<ToDecode> to_value(&scale, 1, RawInt8::kUnit);
  uint16_t rest[hn::MaxLanes(D16())] = {};
  for (int64_t i = 0; i < count; i += lanes) {
    const uint16_t* from = fp16 + i;
    if (count - i < lanes) {
      std::memcpy(rest, from, static_cast<size_t>(count - i) * sizeof(uint16_t));
      from = rest;
    }
    const V16 weight = hn::LoadU(d, from);
    const V16 code = RawInt8::Encode(weight, to_code.At(0));
    const V16 integer = ShiftIntoPlace<8, 0xFFFF>(hn::ShiftLeft<8>(code));
    const V16 value = RawInt8::Value(integer, to_value.At(0));
    const V16 magnitudes = hn::And(hn::Or(weight, value), hn::Set(d, 0x7FFF));  // -0 becomes +0
    const auto same = hn::Or(hn::Eq(weight, value), hn::Eq(magnitudes, hn::Zero(d)));
    if (!hn::AllTrue(d, same)) return false;
  }
  return true;
}

// The usual scale, unless one of its neighbours alone makes every weight exact.
uint16_t IntegerScale(const uint16_t* fp16, int64_t count) {
  const uint16_t usual = Fp16OfFp32(Fp32OfFp16(LargestMagnitude(fp16, count)) * (128.0f / 127.0f));
  if (usual == 0 || IsExactAt(usual, fp16, count)) return usual;
  for (const int neighbour : {usual - 1, usual + 1}) {
    if (neighbour == 0 || neighbour >= kFp16Infinity) continue;
    const auto scale = static_cast<uint16_t>(neighbour);
    if (IsExactAt(scale, fp16, count)) return scale;
  }
  return usual;
}

void ChooseScales(WeightFormat format, const PackedRows<uint8_t>& rows, int64_t columns,
                  const uint16_t* fp16) {
  const FormatInfo& info = InfoOf(format);
  if (info.family == FormatFamily::kInteger) {
    const int64_t block = info.scaling == Scaling::kRow ? columns : kScaleBlockWeights;
    uint16_t* scale = rows.scales;
    for (int64_t row = 0; row < rows.row_count; ++row, fp16 += columns) {
      for (int64_t i = 0; i < rows.scales_per_row; ++i) {
        *scale++ = IntegerScale(fp16 + i * block, std::min(block, columns - i * block));
      }
    }
    return;
  }
  const RowScaleFactors factors = RowScaleFactorsOf(info);
  for (int64_t row = 0; row < rows.row_count; ++row, fp16 += columns) {
    const uint16_t largest = LargestMagnitude(fp16, columns);
    rows.scales[row] = largest == 0 ? 0 : BestRowScale(info, factors, largest, fp16, columns);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tightfit {
namespace cpu {

HWY_EXPORT(EncodeRows);
HWY_EXPORT(ChooseScales);
HWY_EXPORT(LargestMagnitude);

void EncodeRows(WeightFormat format, const PackedRows<uint8_t>& rows, int64_t columns,
                const uint16_t* fp16) {
  HWY_DYNAMIC_DISPATCH(EncodeRows)(format, rows, columns, fp16);
}

void ChooseScales(WeightFormat format, const PackedRows<uint8_t>& rows, int64_t columns,
                  const uint16_t* fp16) {
  HWY_DYNAMIC_DISPATCH(ChooseScales)(format, rows, columns, fp16);
}

uint16_t LargestMagnitude(const uint16_t* fp16, int64_t count) {
  return HWY_DYNAMIC_DISPATCH(LargestMagnitude)(fp16, count);
}

Representability CountUnrepresentable(uint16_t largest, const uint16_t* fp16, int64_t count) {
  // Tensors are almost always fine, which a block's largest pattern tells; only a block that is not
  // is counted number by number.
  constexpr int64_t kBlock = 4096;
  Representability counts;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, count);
    if (LargestMagnitude(fp16 + begin, end - begin) <= largest) continue;
    for (int64_t i = begin; i < end; ++i) {
      const uint16_t magnitude = fp16[i] & 0x7FFF;
      counts.nan_count += magnitude > 0x7C00;
      counts.infinity_count += magnitude == 0x7C00;
      counts.out_of_range_count += magnitude > largest && magnitude < 0x7C00;
    }
  }
  return counts;
}

}  // namespace cpu
}  // namespace tightfit
#endif  // HWY_ONCE
