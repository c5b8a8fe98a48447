// Drawing a part of an image by itself: which part, what of it is given to a model, and how what
// was drawn goes back to its place. diffusers' padding_mask_crop, of which a name in brackets is
// the function.
#ifndef TIGHTFIT_SERVER_IMAGE_INPAINT_AREA_H_
#define TIGHTFIT_SERVER_IMAGE_INPAINT_AREA_H_

#include "server/base/status.h"
#include "server/engine/generation.h"
#include "server/image/input_image.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace tightfit {

// The smallest box of all pixels that are not 0, grown by `padding_px` on every side, then on one
// axis to the aspect of width_px x height_px, and moved into the mask (get_crop_region). Where the
// mask is not long enough for that aspect it is as long as the mask. nullopt: all pixels are 0.
std::optional<PixelBox> InpaintBox(const GreyImage& mask, int32_t padding_px, int32_t width_px,
                                   int32_t height_px);

// What is within `box`.
RgbImage Cropped(const RgbImage& image, const PixelBox& box);
GreyImage Cropped(const GreyImage& mask, const PixelBox& box);

// Resized by Lanczos with its aspect kept, in the middle of width_px x height_px; what is left
// beside it goes on from its edges (_resize_and_fill).
RgbImage ResizedAndFilled(RgbImage image, int32_t width_px, int32_t height_px);
GreyImage ResizedAndFilled(GreyImage mask, int32_t width_px, int32_t height_px);

// `drawn` in its place: resized with its aspect kept so that it covers the box, what is beyond the
// box cut off (_resize_and_crop), and mixed by opacity, to the bit as Pillow's Image.composite.
// Takes the result and the box beside `drawn`. Errors: INTERNAL for a `drawn` that has not the size
// that it says.
Result<RgbImage> Composed(const Composition& composition, RgbImage drawn);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_INPAINT_AREA_H_
