// PNG encoding and decoding of 8-bit RGB with text chunks.
#ifndef TIGHTFIT_SERVER_IMAGE_PNG_H_
#define TIGHTFIT_SERVER_IMAGE_PNG_H_

#include "server/base/status.h"
#include "server/engine/generation.h"
#include "server/image/decoded_pixels.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace tightfit {

// `text`: keyword (1-79 Latin-1 characters) -> UTF-8; written as tEXt where ASCII, else as iTXt.
// Errors: INVALID_ARGUMENT for an image of the wrong size, a keyword that PNG does not allow, or a
// text that holds NUL.
Result<std::vector<uint8_t>> EncodePng(const RgbImage& image,
                                       const std::map<std::string, std::string>& text);

struct DecodedPng {
  RgbImage image;
  std::map<std::string, std::string> text;
};
// At most `max_pixels`; anything but a complete, valid 8-bit PNG is INVALID_ARGUMENT. Gray and
// palette images become RGB, alpha is dropped. At most 16 text chunks of at most 1 MiB; of
// several with one keyword the first counts.
Result<DecodedPng> DecodePng(std::span<const uint8_t> bytes, int64_t max_pixels);

// Of any depth, with alpha where there is some: of 16 bits the upper 8 count. Reads no text, and
// nothing behind the end. Animations of more than one frame are refused. Errors: INVALID_ARGUMENT
// with what is wrong, as it stands after the name of a field.
Result<DecodedPixels> DecodePngPixels(std::span<const uint8_t> bytes, int64_t max_pixels);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_PNG_H_
