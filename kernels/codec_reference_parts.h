// What the files of the reference share. Only they include it.
#ifndef TIGHTFIT_KERNELS_CODEC_REFERENCE_PARTS_H_
#define TIGHTFIT_KERNELS_CODEC_REFERENCE_PARTS_H_

#include "kernels/packed_layout.h"

#include <cstdint>
#include <span>
#include <vector>

namespace tightfit::reference {

// Numbers in the packed tensor, little-endian. `bytes` are the bytes from the number on.
void StoreU16(std::span<uint8_t> bytes, uint16_t value);
void StoreU32(std::span<uint8_t> bytes, uint32_t value);
uint16_t LoadU16(std::span<const uint8_t> bytes);
uint32_t LoadU32(std::span<const uint8_t> bytes);

// The codes of all weights, row-major; writes the scales into `packed`.
std::vector<uint32_t> EncodeWithoutScale(const PackedLayout& layout,
                                         std::span<const uint16_t> fp16);
std::vector<uint32_t> EncodeScaled(const PackedLayout& layout, std::span<const uint16_t> fp16,
                                   std::span<uint8_t> packed);
std::vector<uint32_t> EncodeNormalFloat(const PackedLayout& layout, std::span<const uint16_t> fp16,
                                        std::span<uint8_t> packed);

// The fp16 values of `codes`, row-major, with the scales of `packed`; not the side list.
std::vector<uint16_t> DecodeWithoutScale(const PackedLayout& layout,
                                         std::span<const uint32_t> codes);
std::vector<uint16_t> DecodeScaled(const PackedLayout& layout, std::span<const uint32_t> codes,
                                   std::span<const uint8_t> packed);
std::vector<uint16_t> DecodeNormalFloat(const PackedLayout& layout, std::span<const uint32_t> codes,
                                        std::span<const uint8_t> packed);

// The positions of the weights that a tensor-scaled float at this bias leaves to the side list,
// ascending. Magnitudes of finite patterns only: NaN and infinities are not asked for.
std::vector<uint32_t> SidePositions(WeightFormat format, int exponent_bias,
                                    std::span<const uint16_t> fp16);

}  // namespace tightfit::reference

#endif  // TIGHTFIT_KERNELS_CODEC_REFERENCE_PARTS_H_
