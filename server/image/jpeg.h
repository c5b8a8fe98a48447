// JPEG decoding to 8-bit RGB.
#ifndef TIGHTFIT_SERVER_IMAGE_JPEG_H_
#define TIGHTFIT_SERVER_IMAGE_JPEG_H_

#include "server/base/status.h"
#include "server/image/decoded_pixels.h"

#include <cstdint>
#include <span>

namespace tightfit {

// Grey becomes RGB; CMYK, whose colours only its profile tells, is refused, as are 12 bits per
// channel, more than 100 scans, and data that is damaged or cut off. What follows the end, as in
// photos that move, is not looked at. Memory: as DecodedPixels, and 6 bytes for a pixel where it is
// progressive. Errors: INVALID_ARGUMENT with what is wrong, as it stands after the name of a field.
Result<DecodedPixels> DecodeJpeg(std::span<const uint8_t> bytes, int64_t max_pixels);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_JPEG_H_
