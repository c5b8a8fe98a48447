#include "server/image/input_image.h"

#include "server/image/decoded_pixels.h"
#include "server/image/exif_orientation.h"
#include "server/image/jpeg.h"
#include "server/image/png.h"
#include "server/image/resampling.h"
#include "server/image/webp.h"

#include <algorithm>
#include <cstddef>
#include <new>
#include <span>
#include <string>
#include <utility>

namespace tightfit {
namespace {

using std::string_view_literals::operator""sv;

constexpr uint8_t kWhite = 255;
constexpr uint8_t kOpaque = 255;
constexpr uint8_t kLeastDrawn = 128;

// How files begin that are no PNG, JPEG or WebP, but that people take for images.
struct OtherKind {
  size_t offset;
  std::string_view magic;
  const char* name;
};
constexpr OtherKind kOtherKinds[] = {
    {0, "GIF8", "a GIF image"},
    {0, "BM", "a BMP image"},
    {0, "II*\0"sv, "a TIFF image"},
    {0, "MM\0*"sv, "a TIFF image"},
    {4, "ftypavif", "an AVIF image"},
    {4, "ftypavis", "an AVIF image"},
    {4, "ftypheic", "a HEIC image"},
    {4, "ftypheix", "a HEIC image"},
    {4, "ftypmif1", "a HEIC image"},
    {0, "\xFF\x0A", "a JPEG XL image"},
    {0, "\0\0\0\x0CJXL "sv, "a JPEG XL image"},
    {0, "\0\0\0\x0CjP  "sv, "a JPEG 2000 image"},
    {0, "<svg", "an SVG drawing"},
    {0, "%PDF", "a PDF file"},
    {0, "8BPS", "a Photoshop file"},
    {0, "data:", "a data URL"},
    {0, "iVBOR", "text in base64"},
    {0, "/9j/", "text in base64"},
    {0, "UklGR", "text in base64"},
};

// safetensors: the length of a JSON text in eight bytes, then the text.
bool IsSafetensors(std::string_view bytes) {
  return bytes.size() > 8 && bytes[8] == '{' && bytes.substr(2, 6) == "\0\0\0\0\0\0"sv;
}

Status OtherFile(std::string_view bytes) {
  constexpr char kMust[] = ", but must be a PNG, JPEG or WebP image";
  if (IsSafetensors(bytes)) {
    return InvalidArgument(
        "is a safetensors file, but must be a PNG, JPEG or WebP image; initial_latents and "
        "denoising_start go on from latents");
  }
  for (const OtherKind& kind : kOtherKinds) {
    if (bytes.size() >= kind.offset && bytes.substr(kind.offset).starts_with(kind.magic)) {
      return InvalidArgument(std::string("is ") + kind.name + kMust);
    }
  }
  return InvalidArgument("must be a PNG, JPEG or WebP image");
}

Result<DecodedPixels> DecodeAnyKind(std::string_view file, int64_t max_pixels) {
  const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(file.data()), file.size());
  if (file.starts_with("\x89PNG\r\n\x1A\n")) return DecodePngPixels(bytes, max_pixels);
  if (file.starts_with("\xFF\xD8\xFF")) return DecodeJpeg(bytes, max_pixels);
  if (file.size() >= 12 && file.starts_with("RIFF") && file.substr(8, 4) == "WEBP") {
    return DecodeWebp(bytes, max_pixels);
  }
  return OtherFile(file);
}

Result<DecodedPixels> DecodePixels(std::string_view file, const InputImageBounds& bounds) {
  if (file.empty()) return InvalidArgument("is empty");
  if (std::cmp_greater(file.size(), bounds.max_bytes)) {
    return InvalidArgument("has " + std::to_string(file.size()) + " bytes, but may have at most " +
                           std::to_string(bounds.max_bytes) + ": send it as JPEG or WebP");
  }
  try {
    TF_ASSIGN_OR_RETURN(DecodedPixels pixels, DecodeAnyKind(file, bounds.max_pixels));
    return Upright(std::move(pixels));
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                  "the host's memory does not suffice to decode an image");
  }
}

// x / 255, rounded, for x up to 255 * 255.
uint8_t DividedBy255(uint32_t x) {
  x += 128;
  return static_cast<uint8_t>(((x >> 8) + x) >> 8);
}

// RGB in the place of RGB and alpha.
void LayOnWhite(std::vector<uint8_t>* bytes) {
  uint8_t* out = bytes->data();
  for (size_t i = 0; i + 4 <= bytes->size(); i += 4) {
    const uint32_t alpha = (*bytes)[i + 3];
    for (size_t c = 0; c < 3; ++c) {
      *out++ = DividedBy255((*bytes)[i + c] * alpha + kWhite * (255 - alpha));
    }
  }
  bytes->resize(bytes->size() / 4 * 3);
}

// Pillow's: ITU-R 601 in 16 bits behind the point.
uint8_t Grey(const uint8_t* rgb) {
  return static_cast<uint8_t>((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

}  // namespace

Result<RgbImage> DecodeInputImage(std::string_view bytes, const InputImageBounds& bounds) {
  TF_ASSIGN_OR_RETURN(DecodedPixels pixels, DecodePixels(bytes, bounds));
  if (pixels.channels == 4) LayOnWhite(&pixels.bytes);
  return RgbImage{pixels.width_px, pixels.height_px, std::move(pixels.bytes)};
}

Result<GreyImage> DecodeInputMask(std::string_view bytes, const InputImageBounds& bounds) {
  TF_ASSIGN_OR_RETURN(const DecodedPixels pixels, DecodePixels(bytes, bounds));
  GreyImage mask{pixels.width_px, pixels.height_px, {}};
  const auto pixel_bytes = static_cast<size_t>(pixels.channels);
  mask.grey.reserve(pixels.bytes.size() / pixel_bytes);
  for (size_t i = 0; i < pixels.bytes.size(); i += pixel_bytes) {
    if (pixel_bytes == 4 && pixels.bytes[i + 3] != kOpaque) {
      return InvalidArgument(
          "has transparent pixels, but tells by its greys what is drawn: white; and what is kept: "
          "black");
    }
    mask.grey.push_back(Grey(&pixels.bytes[i]));
  }
  return mask;
}

RgbImage Resized(RgbImage image, int32_t width_px, int32_t height_px) {
  if (image.width_px == width_px && image.height_px == height_px) return image;
  return {
      width_px, height_px,
      ResizeLanczos(std::move(image.rgb), 3, image.width_px, image.height_px, width_px, height_px)};
}

GreyImage Resized(GreyImage mask, int32_t width_px, int32_t height_px) {
  return {
      width_px, height_px,
      ResizeLanczos(std::move(mask.grey), 1, mask.width_px, mask.height_px, width_px, height_px)};
}

ImageMask MaskOf(GreyImage mask, int32_t width_px, int32_t height_px) {
  ImageMask made{width_px, height_px, Resized(std::move(mask), width_px, height_px).grey};
  for (uint8_t& value : made.drawn) value = value >= kLeastDrawn ? 255 : 0;
  return made;
}

}  // namespace tightfit
