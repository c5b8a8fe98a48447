// Fuzz target: reading PNG files and their texts. Whatever is read can be written and read again,
// and is the same.
#include "server/image/png.h"
#include "tests/fuzz/require.h"

#include <cstdint>
#include <span>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tightfit;
  constexpr int64_t kMaxPixels = 1 << 16;
  const Result<DecodedPng> decoded = DecodePng(std::span(data, size), kMaxPixels);
  if (!decoded.ok()) {
    Require(!decoded.status().message().empty());
    return 0;
  }
  const RgbImage& image = decoded->image;
  Require(int64_t{image.width_px} * image.height_px <= kMaxPixels);
  Require(std::ssize(image.rgb) == int64_t{image.width_px} * image.height_px * 3);
  Require(decoded->text.size() <= 16);
  // Texts of other programs need not be what this one writes.
  const auto written = EncodePng(image, {});
  Require(written.ok());
  const Result<DecodedPng> again = DecodePng(*written, kMaxPixels);
  Require(again.ok() && again->image.rgb == image.rgb);
  const auto with_text = EncodePng(image, decoded->text);
  if (!with_text.ok()) return 0;
  const Result<DecodedPng> text_again = DecodePng(*with_text, kMaxPixels);
  Require(text_again.ok() && text_again->text == decoded->text);
  return 0;
}
