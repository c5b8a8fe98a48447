// WebP decoding to 8-bit RGB, with alpha where there is some.
#ifndef TIGHTFIT_SERVER_IMAGE_WEBP_H_
#define TIGHTFIT_SERVER_IMAGE_WEBP_H_

#include "server/base/status.h"
#include "server/image/decoded_pixels.h"

#include <cstdint>
#include <span>

namespace tightfit {

// Animations are refused. Errors: INVALID_ARGUMENT with what is wrong, as it stands after the name
// of a field.
Result<DecodedPixels> DecodeWebp(std::span<const uint8_t> bytes, int64_t max_pixels);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_WEBP_H_
