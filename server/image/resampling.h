// Resizing by Lanczos, equal to Pillow's to the bit.
#ifndef TIGHTFIT_SERVER_IMAGE_RESAMPLING_H_
#define TIGHTFIT_SERVER_IMAGE_RESAMPLING_H_

#include <cstdint>
#include <span>
#include <vector>

namespace tightfit {

// `pixels`: height_px * width_px * channels bytes, rows from top to bottom, 1 or 3 channels. Gives
// what Pillow's Image.resize((new_width_px, new_height_px), LANCZOS) gives: first along rows, then
// along columns, 8 bits between both. All sizes are at least 1. Beside the result it takes
// new_width_px * height_px * channels bytes, and 4 for each of at most 6 * side + 7 * new side
// coefficients.
std::vector<uint8_t> ResizeLanczos(std::span<const uint8_t> pixels, int32_t channels,
                                   int32_t width_px, int32_t height_px, int32_t new_width_px,
                                   int32_t new_height_px);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_RESAMPLING_H_
