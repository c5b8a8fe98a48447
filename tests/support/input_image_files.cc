#include "tests/support/input_image_files.h"

#include <zlib.h>

namespace tightfit {
namespace {

std::string BigEndian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xFF);
  return bytes;
}

size_t BytesPerPixel(PngColours colours) {
  switch (colours) {
    case PngColours::kRgb:
      return 3;
    case PngColours::kGreyAlpha:
      return 2;
    case PngColours::kRgba:
      return 4;
    default:
      return 1;
  }
}

std::string Deflated(std::string_view bytes) {
  uLongf size = compressBound(bytes.size());
  std::string deflated(size, '\0');
  compress2(reinterpret_cast<Bytef*>(deflated.data()), &size,
            reinterpret_cast<const Bytef*>(bytes.data()), bytes.size(), 6);
  deflated.resize(size);
  return deflated;
}

// Of an animation: frames, and how often they are played.
std::string AnimationChunk(uint32_t frames) {
  return PngChunk("acTL", BigEndian(frames) + BigEndian(0));
}

std::string WithByte(std::string file, size_t at, char value) {
  file[at] = value;
  return file;
}

}  // namespace

std::string PngChunk(std::string_view name, std::string_view data) {
  const std::string checked = std::string(name).append(data);
  const uLong sum =
      crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
  return BigEndian(static_cast<uint32_t>(data.size())) + checked +
         BigEndian(static_cast<uint32_t>(sum));
}

std::string PngHead(uint32_t width_px, uint32_t height_px, PngColours colours) {
  std::string header = BigEndian(width_px) + BigEndian(height_px);
  header += '\x08';
  header += static_cast<char>(colours);
  header += std::string(3, '\0');
  return "\x89PNG\r\n\x1A\n" + PngChunk("IHDR", header);
}

std::string PngFile(uint32_t width_px, uint32_t height_px, PngColours colours,
                    std::string_view pixels, std::string_view before_pixels) {
  std::string rows;
  const size_t row_bytes = width_px * BytesPerPixel(colours);
  for (uint32_t y = 0; y < height_px; ++y) {
    rows += '\0';  // not filtered
    rows += pixels.substr(y * row_bytes, row_bytes);
  }
  return PngHead(width_px, height_px, colours) + std::string(before_pixels) +
         PngChunk("IDAT", Deflated(rows)) + PngChunk("IEND", "");
}

std::string GradientPng(uint32_t width_px, uint32_t height_px) {
  std::string pixels;
  for (uint32_t y = 0; y < height_px; ++y) {
    for (uint32_t x = 0; x < width_px; ++x) {
      pixels += static_cast<char>(x);
      pixels += static_cast<char>(y);
      pixels += static_cast<char>(x ^ y);
    }
  }
  return PngFile(width_px, height_px, PngColours::kRgb, pixels);
}

std::string HalfMaskPng(uint32_t width_px, uint32_t height_px, uint32_t first_white) {
  std::string pixels;
  for (uint32_t i = 0; i < width_px * height_px; ++i) {
    pixels += i % width_px >= first_white ? '\xFF' : '\0';
  }
  return PngFile(width_px, height_px, PngColours::kGrey, pixels);
}

std::vector<BadImageFile> BadImageFiles() {
  const std::string good = GradientPng(64, 64);
  const std::string zeros(4096, '\0');
  const std::string latents = std::string("\x50\0\0\0\0\0\0\0", 8) + "{\"latents\":{}}";
  const std::string riff("RIFF\x20\0\0\0WEBPVP8 ", 16);
  const char* const kKinds = "PNG, JPEG or WebP";
  std::vector<BadImageFile> files = {
      {"nothing", "", "is empty"},
      {"one byte", "\x89", kKinds},
      {"text", "secret secret", kKinds},
      {"zeros", zeros, kKinds},
      {"a GIF", "GIF89a" + zeros, "is a GIF image"},
      {"a BMP", "BM" + zeros, "is a BMP image"},
      {"a little-endian TIFF", std::string("II*\0", 4) + zeros, "is a TIFF image"},
      {"a big-endian TIFF", std::string("MM\0*", 4) + zeros, "is a TIFF image"},
      {"an AVIF", std::string("\0\0\0\x20", 4) + "ftypavif" + zeros, "is an AVIF image"},
      {"a HEIC", std::string("\0\0\0\x20", 4) + "ftypheic" + zeros, "is a HEIC image"},
      {"an SVG", "<svg xmlns=''/>", "is an SVG drawing"},
      {"a PDF", "%PDF-1.7", "is a PDF file"},
      {"a data URL", "data:image/png;base64,iVBOR", "is a data URL"},
      {"base64", "iVBORw0KGgo=", "is text in base64"},
      {"latents", latents, "initial_latents"},
      {"a PNG of its signature", good.substr(0, 8), "PNG file that ends too early"},
      {"a PNG of its header", good.substr(0, 33), "PNG file that ends too early"},
      {"half a PNG", good.substr(0, good.size() / 2), "PNG file that ends too early"},
      {"a PNG without its end", good.substr(0, good.size() - 12), "PNG file that ends too early"},
      {"a PNG with a wrong checksum", WithByte(good, 30, '\x7f'), "damaged PNG"},
      {"a PNG whose pixels are noise",
       PngHead(64, 64, PngColours::kRgb) + PngChunk("IDAT", "secret") + PngChunk("IEND", ""),
       "damaged PNG"},
      {"a PNG of fewer pixels than it says", PngHead(64, 65, PngColours::kRgb) + good.substr(33),
       "damaged PNG"},
      {"a PNG of a palette without colours",
       PngFile(16, 16, PngColours::kPalette, zeros.substr(0, 256)), "damaged PNG"},
      {"a PNG 0 wide", PngHead(0, 16, PngColours::kRgb), "damaged PNG"},
      {"a PNG of 2^31 - 1 squared",
       PngHead(0x7FFFFFFF, 0x7FFFFFFF, PngColours::kRgb) + PngChunk("IDAT", Deflated(zeros)),
       "at most 16384 wide and high"},
      {"a PNG of 100 000 squared",
       PngHead(100'000, 100'000, PngColours::kRgb) + PngChunk("IDAT", Deflated(zeros)),
       "at most 16384 wide and high"},
      {"a PNG of 16 384 squared",
       PngHead(16'384, 16'384, PngColours::kRgb) + PngChunk("IDAT", Deflated(zeros)),
       "at most 16777216 in all"},
      {"a PNG of two frames",
       PngFile(16, 16, PngColours::kGrey, zeros.substr(0, 256), AnimationChunk(2)),
       "is an animation"},
      {"a JPEG of its first bytes", "\xFF\xD8\xFF\xE0", "JPEG file that ends too early"},
      {"a JPEG of noise", "\xFF\xD8\xFF" + good, "damaged JPEG"},
      {"the first bytes of a WebP", riff.substr(0, 7), kKinds},
      {"a WebP of its header", riff, "WebP file"},
      {"a WebP of zeros", riff + zeros, "WebP file"},
  };
  return files;
}

}  // namespace tightfit
