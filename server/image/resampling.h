// Resizing by Lanczos, equal to Pillow's to the bit.
#ifndef TIGHTFIT_SERVER_IMAGE_RESAMPLING_H_
#define TIGHTFIT_SERVER_IMAGE_RESAMPLING_H_

#include "server/engine/generation.h"

#include <cstdint>
#include <vector>

namespace tightfit {

// `pixels`: height_px * width_px * channels bytes, rows from top to bottom, 1 or 3 channels. Gives
// what Pillow's Image.resize((new_width_px, new_height_px), LANCZOS) gives, 8 bits between rows and
// columns. Pillow 13 takes columns first where the height shrinks much, which those before did not:
// there they differ by 1 here and there. Takes `pixels`, the result and what lies between, and 4
// bytes for each of at most 6 * side + 7 * new side coefficients. All sizes are at least 1.
std::vector<uint8_t> ResizeLanczos(std::vector<uint8_t> pixels, int32_t channels, int32_t width_px,
                                   int32_t height_px, int32_t new_width_px, int32_t new_height_px);

// The part of that result within `part`, made without the rest of it: the whole may be larger than
// any memory. `part` lies within new_width_px x new_height_px.
std::vector<uint8_t> ResizeLanczosPart(std::vector<uint8_t> pixels, int32_t channels,
                                       int32_t width_px, int32_t height_px, int32_t new_width_px,
                                       int32_t new_height_px, const PixelBox& part);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_RESAMPLING_H_
