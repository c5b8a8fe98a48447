// The one thing of EXIF that changes an image: how it is to be turned.
#ifndef TIGHTFIT_SERVER_IMAGE_EXIF_ORIENTATION_H_
#define TIGHTFIT_SERVER_IMAGE_EXIF_ORIENTATION_H_

#include "server/image/decoded_pixels.h"

#include <cstdint>
#include <span>

namespace tightfit {

// 1 to 8, as EXIF counts. `exif`: a TIFF structure, with or without "Exif\0\0" before it. 1 where
// it tells nothing that can be read.
int32_t ExifOrientation(std::span<const uint8_t> exif);

// Turned and mirrored as its exif_orientation says, which is 1 then: as Pillow's exif_transpose.
DecodedPixels Upright(DecodedPixels pixels);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_EXIF_ORIENTATION_H_
