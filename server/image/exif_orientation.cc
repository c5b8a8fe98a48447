#include "server/image/exif_orientation.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

namespace tightfit {
namespace {

constexpr uint8_t kExifPrefix[] = {'E', 'x', 'i', 'f', 0, 0};
constexpr size_t kHeaderBytes = 8;
constexpr size_t kEntryBytes = 12;
constexpr uint32_t kTiffMagic = 42;
constexpr uint32_t kOrientationTag = 0x0112;
constexpr uint32_t kShortType = 3;

// Whole numbers of a TIFF structure, in its order of bytes; 0 beyond its end.
class TiffNumbers {
 public:
  explicit TiffNumbers(std::span<const uint8_t> tiff)
      : tiff_(tiff), is_little_endian_(!tiff.empty() && tiff[0] == 'I') {}

  uint32_t At(size_t offset, size_t bytes) const {
    if (offset > tiff_.size() || bytes > tiff_.size() - offset) return 0;
    uint32_t number = 0;
    for (size_t i = 0; i < bytes; ++i) {
      const size_t place = is_little_endian_ ? bytes - 1 - i : i;
      number = number << 8 | tiff_[offset + place];
    }
    return number;
  }

 private:
  std::span<const uint8_t> tiff_;
  bool is_little_endian_;
};

// Where the pixel at (x, y) of the turned image comes from, in an image of width_px x height_px.
std::pair<int32_t, int32_t> SourceOf(int32_t orientation, int32_t x, int32_t y, int32_t width_px,
                                     int32_t height_px) {
  switch (orientation) {
    case 2:
      return {width_px - 1 - x, y};
    case 3:
      return {width_px - 1 - x, height_px - 1 - y};
    case 4:
      return {x, height_px - 1 - y};
    case 5:
      return {y, x};
    case 6:
      return {y, height_px - 1 - x};
    case 7:
      return {width_px - 1 - y, height_px - 1 - x};
    case 8:
      return {width_px - 1 - y, x};
    default:
      return {x, y};
  }
}

}  // namespace

int32_t ExifOrientation(std::span<const uint8_t> exif) {
  if (exif.size() >= sizeof(kExifPrefix) &&
      std::equal(std::begin(kExifPrefix), std::end(kExifPrefix), exif.begin())) {
    exif = exif.subspan(sizeof(kExifPrefix));
  }
  if (exif.size() < kHeaderBytes || exif[0] != exif[1] || (exif[0] != 'I' && exif[0] != 'M')) {
    return 1;
  }
  const TiffNumbers tiff(exif);
  if (tiff.At(2, 2) != kTiffMagic) return 1;
  const size_t directory = tiff.At(4, 4);
  const size_t count = tiff.At(directory, 2);
  for (size_t i = 0; i < count; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > exif.size()) break;
    if (tiff.At(entry, 2) != kOrientationTag || tiff.At(entry + 2, 2) != kShortType) continue;
    const auto orientation = static_cast<int32_t>(tiff.At(entry + 8, 2));
    return orientation >= 1 && orientation <= 8 ? orientation : 1;
  }
  return 1;
}

DecodedPixels Upright(DecodedPixels pixels) {
  if (pixels.exif_orientation == 1) return pixels;
  DecodedPixels turned;
  turned.channels = pixels.channels;
  turned.width_px = pixels.width_px;
  turned.height_px = pixels.height_px;
  if (pixels.exif_orientation >= 5) std::swap(turned.width_px, turned.height_px);
  turned.bytes.resize(pixels.bytes.size());
  const auto pixel_bytes = static_cast<size_t>(pixels.channels);
  uint8_t* out = turned.bytes.data();
  for (int32_t y = 0; y < turned.height_px; ++y) {
    for (int32_t x = 0; x < turned.width_px; ++x, out += pixel_bytes) {
      const auto [from_x, from_y] =
          SourceOf(pixels.exif_orientation, x, y, pixels.width_px, pixels.height_px);
      const size_t at = (static_cast<size_t>(from_y) * pixels.width_px + from_x) * pixel_bytes;
      std::memcpy(out, pixels.bytes.data() + at, pixel_bytes);
    }
  }
  return turned;
}

}  // namespace tightfit
