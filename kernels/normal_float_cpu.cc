#include "kernels/normal_float_cpu.h"

#include "kernels/normal_float_digits.h"

#define HWY_BROKEN_EMU128 0  // as in decode_cpu.cc

// This file compiles itself once per instruction set; the order of these includes matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/normal_float_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/fp16_vectors-inl.h"
// clang-format on

#include "kernels/codec_cpu.h"
#include "kernels/fp16.h"
#include "kernels/normal_float_levels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace tightfit {
namespace cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Level counts, filled up to whole vectors.
constexpr int64_t kMostLevels = 32;

// One block's levels times its scale. `levels`: kMostLevels, 0 behind the last; `table` likewise.
void LevelsOfBlock(const float* levels, float scale, uint16_t* table) {
  const D32f df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  const V32f factor = hn::Set(df, scale);
  const hn::Half<D16> half;
  for (int64_t i = 0; i < kMostLevels; i += lanes) {
    hn::StoreU(RoundToFp16(hn::Mul(hn::LoadU(df, levels + i), factor)), half, table + i);
  }
}

// Decodes to bf16 or fp32 what was decoded to fp16; count is a multiple of Lanes(D16).
template <class Target>
void Convert(const uint16_t* fp16, int64_t count, typename Target::Out* out) {
  const D16 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < count; i += lanes) {
    Target::template Store<false>(hn::LoadU(d, fp16 + i), out + i);
  }
}

void ConvertToBf16(const uint16_t* fp16, int64_t count, uint16_t* out) {
  Convert<ToBf16>(fp16, count, out);
}
void ConvertToFp32(const uint16_t* fp16, int64_t count, float* out) {
  Convert<ToFp32>(fp16, count, out);
}

// The digits of one block: how many of the thresholds lie below x * inverse. `fp16` and `digits`:
// kNormalBlockWeights.
void DigitsOfBlock(const float* thresholds, int64_t threshold_count, float inverse,
                   const uint16_t* fp16, uint8_t* digits) {
  const D16 d;
  const D32f df;
  const hn::Rebind<uint8_t, D16> narrow;
  const hn::RebindToUnsigned<D32f> du;
  const V32f factor = hn::Set(df, inverse);
  for (int64_t i = 0; i < kNormalBlockWeights; i += static_cast<int64_t>(hn::Lanes(d))) {
    const WideHalves wide = Widen(hn::LoadU(d, fp16 + i));
    const V32f y_lower = hn::Mul(wide.lower, factor);
    const V32f y_upper = hn::Mul(wide.upper, factor);
    auto lower = hn::Zero(du);
    auto upper = hn::Zero(du);
    for (int64_t t = 0; t < threshold_count; ++t) {
      const V32f threshold = hn::Set(df, thresholds[t]);
      // A true mask is -1.
      lower = hn::Sub(lower, hn::BitCast(du, hn::VecFromMask(df, hn::Gt(y_lower, threshold))));
      upper = hn::Sub(upper, hn::BitCast(du, hn::VecFromMask(df, hn::Gt(y_upper, threshold))));
    }
    // Small integers: their upper bytes are zero.
    const V16 both = hn::ConcatEven(d, hn::BitCast(d, upper), hn::BitCast(d, lower));
    hn::StoreU(hn::TruncateTo(narrow, both), narrow, digits + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace cpu
}  // namespace tightfit
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tightfit {
namespace cpu {

HWY_EXPORT(LevelsOfBlock);
HWY_EXPORT(ConvertToBf16);
HWY_EXPORT(ConvertToFp32);
HWY_EXPORT(DigitsOfBlock);

namespace {

constexpr int64_t kMostLevels = 32;

float Fp32At(const uint8_t* bytes) {
  float value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

float BlockScale(float superblock_largest, uint8_t code) {
  const float unit = superblock_largest / 255.0f;
  return unit * static_cast<float>(code);
}

// Calls `finish(fp16, count)` with up to one block's decoded weights at a time, whose memory goes
// on for a whole vector.
template <typename Finish>
void DecodeByBlocks(const PackedLayout& layout, const uint8_t* packed, int64_t first, int64_t count,
                    Finish finish) {
  float levels[kMostLevels] = {};
  const std::span<const float> level_values = NormalLevels(InfoOf(layout.format).level_count);
  std::copy(level_values.begin(), level_values.end(), levels);
  uint16_t table[kMostLevels];
  uint8_t digits[kNormalBlockWeights];
  uint16_t fp16[kNormalBlockWeights] = {};
  while (count > 0) {
    const int64_t block = first / kNormalBlockWeights;
    const int64_t taken = std::min(count, (block + 1) * kNormalBlockWeights - first);
    const float largest = Fp32At(packed + layout.scale_offset_bytes +
                                 block / kNormalSuperblockBlocks * sizeof(float));
    const float scale = BlockScale(largest, packed[layout.block_scale_offset_bytes + block]);
    HWY_DYNAMIC_DISPATCH(LevelsOfBlock)(levels, scale, table);
    ReadDigits(layout, packed, first, taken, digits);
    for (int64_t i = 0; i < taken; ++i) fp16[i] = table[digits[i]];
    finish(fp16, taken);
    first += taken;
    count -= taken;
  }
}

}  // namespace

void DecodeNormalToFp16(const PackedLayout& layout, const uint8_t* packed, int64_t first,
                        int64_t count, uint16_t* out) {
  DecodeByBlocks(layout, packed, first, count, [&](const uint16_t* fp16, int64_t taken) {
    std::memcpy(out, fp16, taken * sizeof(uint16_t));
    out += taken;
  });
}

void DecodeNormalToBf16(const PackedLayout& layout, const uint8_t* packed, int64_t first,
                        int64_t count, uint16_t* out) {
  DecodeByBlocks(layout, packed, first, count, [&](const uint16_t* fp16, int64_t taken) {
    uint16_t block[kNormalBlockWeights];
    HWY_DYNAMIC_DISPATCH(ConvertToBf16)(fp16, kNormalBlockWeights, block);
    std::memcpy(out, block, taken * sizeof(uint16_t));
    out += taken;
  });
}

void DecodeNormalToFp32(const PackedLayout& layout, const uint8_t* packed, int64_t first,
                        int64_t count, float* out) {
  DecodeByBlocks(layout, packed, first, count, [&](const uint16_t* fp16, int64_t taken) {
    float block[kNormalBlockWeights];
    HWY_DYNAMIC_DISPATCH(ConvertToFp32)(fp16, kNormalBlockWeights, block);
    std::memcpy(out, block, taken * sizeof(float));
    out += taken;
  });
}

void EncodeNormalFloats(const PackedLayout& layout, int64_t first, int64_t count,
                        const uint16_t* fp16, uint8_t* packed) {
  const std::span<const float> levels = NormalLevels(InfoOf(layout.format).level_count);
  float thresholds[kMostLevels];
  const auto threshold_count = static_cast<int64_t>(levels.size()) - 1;
  for (int64_t i = 0; i < threshold_count; ++i) thresholds[i] = (levels[i] + levels[i + 1]) / 2;

  std::vector<uint8_t> digits(count + kNormalBlockWeights);
  float largest = 0.0f;  // of the superblock
  for (int64_t begin = 0; begin < count; begin += kNormalBlockWeights) {
    if (begin % kNormalSuperblockWeights == 0) {
      largest = Fp32OfFp16(
          LargestMagnitude(fp16 + begin, std::min(count - begin, kNormalSuperblockWeights)));
      std::memcpy(packed + layout.scale_offset_bytes +
                      (first + begin) / kNormalSuperblockWeights * sizeof(float),
                  &largest, sizeof(largest));
    }
    const int64_t taken = std::min(count - begin, kNormalBlockWeights);
    uint16_t block[kNormalBlockWeights] = {};
    std::memcpy(block, fp16 + begin, taken * sizeof(uint16_t));
    const float block_largest = Fp32OfFp16(LargestMagnitude(block, taken));
    uint8_t code = 0;
    if (block_largest > 0.0f) {
      const float unit = largest / 255.0f;
      code = static_cast<uint8_t>(std::clamp(std::nearbyint(block_largest / unit), 1.0f, 255.0f));
    }
    packed[layout.block_scale_offset_bytes + (first + begin) / kNormalBlockWeights] = code;
    const float scale = BlockScale(largest, code);
    const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
    HWY_DYNAMIC_DISPATCH(DigitsOfBlock)
    (thresholds, threshold_count, inverse, block, digits.data() + begin);
  }
  WriteDigits(layout, first, count, digits.data(), packed);
}

}  // namespace cpu
}  // namespace tightfit
#endif  // HWY_ONCE
