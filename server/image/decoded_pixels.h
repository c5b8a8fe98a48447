// DecodedPixels: what a file holds, before anything is done about transparency and orientation; and
// what is checked of its size before room is made for it.
#ifndef TIGHTFIT_SERVER_IMAGE_DECODED_PIXELS_H_
#define TIGHTFIT_SERVER_IMAGE_DECODED_PIXELS_H_

#include "server/base/status.h"

#include <algorithm>
#include <cstddef>
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

// Makes room for the rows of an image a few at a time, so that a file which says a size and holds
// nothing costs next to nothing. `read(rows, count)` reads the next ones, and says whether it
// could.
template <typename Read>
bool ReadInBands(size_t row_bytes, size_t row_count, std::vector<uint8_t>* bytes, Read read) {
  constexpr size_t kBandRows = 64;
  bytes->reserve(row_bytes * row_count);
  for (size_t row = 0; row < row_count; row += kBandRows) {
    const size_t count = std::min(kBandRows, row_count - row);
    bytes->resize((row + count) * row_bytes);
    if (!read(bytes->data() + row * row_bytes, count)) return false;
  }
  return true;
}

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
