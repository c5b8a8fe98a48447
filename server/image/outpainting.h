// Making an image larger, so that what is around it can be drawn.
#ifndef TIGHTFIT_SERVER_IMAGE_OUTPAINTING_H_
#define TIGHTFIT_SERVER_IMAGE_OUTPAINTING_H_

#include "server/engine/generation.h"
#include "server/image/input_image.h"

#include <cstdint>
#include <optional>

namespace tightfit {

// With its outermost pixels repeated in the margins, none of which is negative. Takes the result
// beside the image; callers have checked its size.
RgbImage WithMargins(const RgbImage& image, const Margins& margins);

// The mask of an image of width_px x height_px that was made larger: the margins are white, within
// them is `mask`, or black where there is none.
GreyImage MaskWithMargins(const std::optional<GreyImage>& mask, int32_t width_px, int32_t height_px,
                          const Margins& margins);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_OUTPAINTING_H_
