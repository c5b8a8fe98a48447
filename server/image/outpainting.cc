#include "server/image/outpainting.h"

#include <algorithm>
#include <cstddef>

namespace tightfit {
namespace {

constexpr size_t kRgbBytes = 3;
constexpr uint8_t kWhiteMargin = 255;

}  // namespace

RgbImage WithMargins(const RgbImage& image, const Margins& margins) {
  RgbImage larger{image.width_px + margins.left_px + margins.right_px,
                  image.height_px + margins.top_px + margins.bottom_px,
                  {}};
  const size_t row_bytes = kRgbBytes * static_cast<size_t>(larger.width_px);
  larger.rgb.resize(row_bytes * static_cast<size_t>(larger.height_px));
  const auto width = static_cast<size_t>(image.width_px);
  for (int32_t y = 0; y < larger.height_px; ++y) {
    const int32_t source_y = std::clamp(y - margins.top_px, 0, image.height_px - 1);
    const uint8_t* const row = image.rgb.data() + kRgbBytes * width * static_cast<size_t>(source_y);
    uint8_t* out = larger.rgb.data() + row_bytes * static_cast<size_t>(y);
    for (int32_t x = 0; x < margins.left_px; ++x) out = std::copy_n(row, kRgbBytes, out);
    out = std::copy_n(row, kRgbBytes * width, out);
    for (int32_t x = 0; x < margins.right_px; ++x) {
      out = std::copy_n(row + kRgbBytes * (width - 1), kRgbBytes, out);
    }
  }
  return larger;
}

GreyImage MaskWithMargins(const std::optional<GreyImage>& mask, int32_t width_px, int32_t height_px,
                          const Margins& margins) {
  GreyImage larger{width_px + margins.left_px + margins.right_px,
                   height_px + margins.top_px + margins.bottom_px,
                   {}};
  const auto row_bytes = static_cast<size_t>(larger.width_px);
  const auto width = static_cast<size_t>(width_px);
  larger.grey.resize(row_bytes * static_cast<size_t>(larger.height_px), kWhiteMargin);
  for (int32_t y = 0; y < height_px; ++y) {
    uint8_t* const out =
        larger.grey.data() + row_bytes * static_cast<size_t>(y + margins.top_px) + margins.left_px;
    if (mask.has_value()) {
      std::copy_n(mask->grey.data() + width * static_cast<size_t>(y), width, out);
    } else {
      std::fill_n(out, width, uint8_t{0});
    }
  }
  return larger;
}

}  // namespace tightfit
