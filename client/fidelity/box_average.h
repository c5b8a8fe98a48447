// Images averaged down to a grid of boxes.
#ifndef TIGHTFIT_CLIENT_FIDELITY_BOX_AVERAGE_H_
#define TIGHTFIT_CLIENT_FIDELITY_BOX_AVERAGE_H_

#include "server/image/png.h"

#include <cstdint>
#include <vector>

namespace tightfit::fidelity {

// A part of an image.
struct Area {
  int32_t left_px = 0;
  int32_t top_px = 0;
  int32_t width_px = 0;
  int32_t height_px = 0;
};

// Means of `columns` x `rows` boxes that cover `area` of `image`: RGB, row after row, 0 to 255.
// Where there are more boxes than pixels, boxes repeat pixels.
std::vector<float> BoxAverage(const RgbImage& image, const Area& area, int32_t columns,
                              int32_t rows);

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_BOX_AVERAGE_H_
