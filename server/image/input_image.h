// Images that clients send: what a request draws over, and the mask of it.
#ifndef TIGHTFIT_SERVER_IMAGE_INPUT_IMAGE_H_
#define TIGHTFIT_SERVER_IMAGE_INPUT_IMAGE_H_

#include "server/base/status.h"
#include "server/engine/generation.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace tightfit {

// 8-bit grey, rows from top to bottom: height_px * width_px bytes.
struct GreyImage {
  int32_t width_px = 0;
  int32_t height_px = 0;
  std::vector<uint8_t> grey;
};

struct InputImageBounds {
  int64_t max_bytes = 0;   // of the file
  int64_t max_pixels = 0;  // looked at before room is made for them
};

// PNG, JPEG or WebP, a single frame, by its first bytes. Turned upright by its EXIF; transparent
// pixels lie on white; grey and palettes become RGB; of 16 bits the upper 8 count; colour profiles
// and gamma are not looked at. Errors: INVALID_ARGUMENT with what is wrong, as it stands after the
// name of a field; RESOURCE_EXHAUSTED `OUT_OF_MEMORY`.
Result<RgbImage> DecodeInputImage(std::string_view bytes, const InputImageBounds& bounds);

// The same kinds and errors. Refuses transparent pixels, which mean different things in different
// programs. Grey as Pillow's convert("L").
Result<GreyImage> DecodeInputMask(std::string_view bytes, const InputImageBounds& bounds);

// By Lanczos, to the bit as Pillow; the aspect is not kept.
RgbImage Resized(RgbImage image, int32_t width_px, int32_t height_px);
GreyImage Resized(GreyImage mask, int32_t width_px, int32_t height_px);
// The same, then 128 and above is drawn, as in diffusers.
ImageMask MaskOf(GreyImage mask, int32_t width_px, int32_t height_px);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_INPUT_IMAGE_H_
