#include "server/image/decoded_pixels.h"

#include <algorithm>
#include <string>

namespace tightfit {

Status CheckInputSize(int64_t width_px, int64_t height_px, int64_t max_pixels) {
  const std::string size = std::to_string(width_px) + " x " + std::to_string(height_px) + " pixels";
  if (width_px < 1 || height_px < 1) return InvalidArgument("has no pixels");
  if (std::max(width_px, height_px) > kMaxInputSidePx) {
    return InvalidArgument("has " + size + ", but may be at most " +
                           std::to_string(kMaxInputSidePx) + " wide and high: make it smaller");
  }
  if (width_px * height_px > max_pixels) {
    return InvalidArgument("has " + size + ", but may have at most " + std::to_string(max_pixels) +
                           " in all: make it smaller");
  }
  return OkStatus();
}

Status DamagedImage(const char* kind) {
  return InvalidArgument(std::string("is a damaged ") + kind + " file, which cannot be decoded");
}

Status CutOffImage(const char* kind) {
  return InvalidArgument(std::string("is a ") + kind + " file that ends too early");
}

}  // namespace tightfit
