// DecodedPixels: what a file holds, before anything is done about transparency and orientation; and
// what is checked of its size before room is made for it.
#ifndef TIGHTFIT_SERVER_IMAGE_DECODED_PIXELS_H_
#define TIGHTFIT_SERVER_IMAGE_DECODED_PIXELS_H_

#include "server/base/status.h"

#include <cstdint>
#include <vector>

namespace tightfit {

struct DecodedPixels {
  int32_t width_px = 0;
  int32_t height_px = 0;
  int32_t channels = 3;          // 3: RGB; 4: RGB and alpha, where 255 is opaque
  std::vector<uint8_t> bytes;    // height_px * width_px * channels, rows from top to bottom
  int32_t exif_orientation = 1;  // 1 to 8
};

// Longer sides take more for a resize's coefficients than the image has pixels.
inline constexpr int64_t kMaxInputSidePx = 16384;

// INVALID_ARGUMENT where an image of this size has no pixel, a side above kMaxInputSidePx or more
// than `max_pixels`; the message stands after the name of a field.
Status CheckInputSize(int64_t width_px, int64_t height_px, int64_t max_pixels);

// The same for what of a file of the kind `kind`, such as "PNG", cannot be read.
Status DamagedImage(const char* kind);
Status CutOffImage(const char* kind);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_DECODED_PIXELS_H_
