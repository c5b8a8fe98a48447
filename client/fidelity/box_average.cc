#include "client/fidelity/box_average.h"

#include <algorithm>

namespace tightfit::fidelity {

std::vector<float> BoxAverage(const RgbImage& image, const Area& area, int32_t columns,
                              int32_t rows) {
  std::vector<float> means;
  means.reserve(static_cast<size_t>(columns) * rows * 3);
  for (int32_t row = 0; row < rows; ++row) {
    const int32_t top = area.top_px + row * area.height_px / rows;
    const int32_t bottom = std::max(area.top_px + (row + 1) * area.height_px / rows, top + 1);
    for (int32_t column = 0; column < columns; ++column) {
      const int32_t left = area.left_px + column * area.width_px / columns;
      const int32_t right =
          std::max(area.left_px + (column + 1) * area.width_px / columns, left + 1);
      int32_t sums[3] = {};
      for (int32_t y = top; y < bottom; ++y) {
        const uint8_t* pixel = &image.rgb[3 * (static_cast<size_t>(y) * image.width_px + left)];
        for (int32_t x = left; x < right; ++x, pixel += 3) {
          for (int c = 0; c < 3; ++c) sums[c] += pixel[c];
        }
      }
      const auto count = static_cast<float>((bottom - top) * (right - left));
      for (const int32_t sum : sums) means.push_back(static_cast<float>(sum) / count);
    }
  }
  return means;
}

}  // namespace tightfit::fidelity
