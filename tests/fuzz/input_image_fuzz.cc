// Fuzz target: images that clients send. What is decoded keeps to its bounds and can be resized;
// what is refused is refused in one line. Its corpus was written by Pillow.
#include "server/image/input_image.h"
#include "tests/fuzz/require.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tightfit {
namespace {

constexpr InputImageBounds kBounds{.max_bytes = 1 << 16, .max_pixels = 1 << 18};

void CheckRefusal(const Status& status) {
  Require(status.code() == StatusCode::kInvalidArgument);
  Require(!status.message().empty() && status.message().size() < 160);
  Require(status.message().find('\n') == std::string::npos);
}

}  // namespace
}  // namespace tightfit

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tightfit;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Result<RgbImage> image = DecodeInputImage(bytes, kBounds);
  const Result<GreyImage> mask = DecodeInputMask(bytes, kBounds);
  if (!image.ok()) {
    CheckRefusal(image.status());
    Require(!mask.ok());
    return 0;
  }
  const int64_t pixels = int64_t{image->width_px} * image->height_px;
  Require(image->width_px > 0 && image->height_px > 0 && pixels <= kBounds.max_pixels);
  Require(static_cast<int64_t>(image->rgb.size()) == 3 * pixels);
  if (mask.ok()) {
    Require(mask->width_px == image->width_px && mask->height_px == image->height_px);
    const ImageMask made = MaskOf(*mask, 24, 16);
    Require(made.drawn.size() == size_t{24} * 16);
    for (const uint8_t value : made.drawn) Require(value == 0 || value == 255);
  } else {
    CheckRefusal(mask.status());  // transparent
  }
  // Sides that a mutated file may have are long.
  if (pixels <= 1 << 14) {
    const RgbImage resized = Resized(*std::move(image), 24, 16);
    Require(resized.rgb.size() == size_t{24} * 16 * 3);
  }
  return 0;
}
