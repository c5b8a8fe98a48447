// Blurring by a Gaussian, equal to Pillow's to the bit.
#ifndef TIGHTFIT_SERVER_IMAGE_GAUSSIAN_BLUR_H_
#define TIGHTFIT_SERVER_IMAGE_GAUSSIAN_BLUR_H_

#include <cstdint>
#include <vector>

namespace tightfit {

// `grey`: height_px * width_px bytes, rows from top to bottom. Gives what Pillow's
// ImageFilter.GaussianBlur(radius_px) gives: three boxes whose standard deviation is `radius_px`
// together, 8 bits between them, and beyond its edges the image goes on as its outermost pixels.
// Takes its time by the pixels, whatever the radius; twice `grey` and 4 bytes a column. 0: as it
// is. All sizes are at least 1.
std::vector<uint8_t> GaussianBlur(std::vector<uint8_t> grey, int32_t width_px, int32_t height_px,
                                  int32_t radius_px);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_GAUSSIAN_BLUR_H_
