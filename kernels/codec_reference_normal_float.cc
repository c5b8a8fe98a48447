// Normal floats: scales of blocks and superblocks of the flattened tensor, and digits. Every
// product, quotient and sum of two floats below is rounded to fp32 by itself, as FORMATS.md wants;
// the build forbids the compiler to fuse them.
#include "kernels/codec_reference.h"
#include "kernels/codec_reference_parts.h"
#include "kernels/normal_float_levels.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace tightfit::reference {
namespace {

float LargestMagnitude(std::span<const uint16_t> weights) {
  double largest = 0.0;
  for (const uint16_t x : weights) largest = std::max(largest, std::abs(ValueOfFp16(x)));
  return static_cast<float>(largest);
}

// A part of the flattened tensor; the last one may be shorter.
std::span<const uint16_t> Part(std::span<const uint16_t> fp16, size_t begin, size_t count) {
  return fp16.subspan(begin, std::min(count, fp16.size() - begin));
}

// What one step of a block's scale code is worth, given the superblock's largest magnitude.
float UnitOf(float superblock_largest) { return superblock_largest / 255.0f; }

uint8_t ScaleCode(float block_largest, float superblock_largest) {
  if (superblock_largest == 0.0f || block_largest == 0.0f) return 0;
  const float quotient = block_largest / UnitOf(superblock_largest);
  // nearbyint rounds ties to even: the default rounding mode, which nobody changes here.
  return static_cast<uint8_t>(std::clamp(std::nearbyint(quotient), 1.0f, 255.0f));
}

// s of the block that holds the weight at this flat index, from the packed scales.
float BlockScale(const PackedLayout& layout, std::span<const uint8_t> packed, int64_t index) {
  const int64_t superblock_offset =
      layout.scale_offset_bytes + 4 * (index / kNormalSuperblockWeights);
  const auto superblock_largest = std::bit_cast<float>(LoadU32(packed.subspan(superblock_offset)));
  const float code = packed[layout.block_scale_offset_bytes + index / kNormalBlockWeights];
  return UnitOf(superblock_largest) * code;
}

// The number of thresholds below y.
uint32_t DigitOf(std::span<const float> levels, float y) {
  uint32_t digit = 0;
  for (size_t i = 0; i + 1 < levels.size(); ++i) {
    const float sum = levels[i] + levels[i + 1];
    const float threshold = sum / 2.0f;
    if (threshold < y) ++digit;
  }
  return digit;
}

}  // namespace

std::vector<uint32_t> EncodeNormalFloat(const PackedLayout& layout, std::span<const uint16_t> fp16,
                                        std::span<uint8_t> packed) {
  for (size_t begin = 0; begin < fp16.size(); begin += kNormalSuperblockWeights) {
    const std::span<const uint16_t> superblock = Part(fp16, begin, kNormalSuperblockWeights);
    const float superblock_largest = LargestMagnitude(superblock);
    StoreU32(packed.subspan(layout.scale_offset_bytes + 4 * (begin / kNormalSuperblockWeights)),
             std::bit_cast<uint32_t>(superblock_largest));
    for (size_t block = 0; block < superblock.size(); block += kNormalBlockWeights) {
      const float block_largest = LargestMagnitude(Part(superblock, block, kNormalBlockWeights));
      packed[layout.block_scale_offset_bytes + (begin + block) / kNormalBlockWeights] =
          ScaleCode(block_largest, superblock_largest);
    }
  }

  const std::span<const float> levels = NormalLevels(InfoOf(layout.format).level_count);
  std::vector<uint32_t> digits;
  for (size_t i = 0; i < fp16.size(); ++i) {
    const float scale = BlockScale(layout, packed, static_cast<int64_t>(i));
    const auto x = static_cast<float>(ValueOfFp16(fp16[i]));
    float y = 0.0f;
    if (scale != 0.0f) {
      const float inverse = 1.0f / scale;
      y = x * inverse;
    }
    digits.push_back(DigitOf(levels, y));
  }
  return digits;
}

std::vector<uint16_t> DecodeNormalFloat(const PackedLayout& layout, std::span<const uint32_t> codes,
                                        std::span<const uint8_t> packed) {
  const std::span<const float> levels = NormalLevels(InfoOf(layout.format).level_count);
  std::vector<uint16_t> fp16;
  for (size_t i = 0; i < codes.size(); ++i) {
    const float scale = BlockScale(layout, packed, static_cast<int64_t>(i));
    const float product = levels[codes[i]] * scale;
    fp16.push_back(Fp16OfValue(product));
  }
  return fp16;
}

}  // namespace tightfit::reference
