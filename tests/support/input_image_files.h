// Image files for tests, made without the code under test.
#ifndef TIGHTFIT_TESTS_SUPPORT_INPUT_IMAGE_FILES_H_
#define TIGHTFIT_TESTS_SUPPORT_INPUT_IMAGE_FILES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tightfit {

// What PNG's header calls its colours.
enum class PngColours : uint8_t { kGrey = 0, kRgb = 2, kPalette = 3, kGreyAlpha = 4, kRgba = 6 };

// One chunk with its length and checksum.
std::string PngChunk(std::string_view name, std::string_view data);
// The signature and IHDR: 8 bits, not interlaced.
std::string PngHead(uint32_t width_px, uint32_t height_px, PngColours colours);
// A whole file of 8-bit pixels, rows from top to bottom; `before_pixels`: chunks.
std::string PngFile(uint32_t width_px, uint32_t height_px, PngColours colours,
                    std::string_view pixels, std::string_view before_pixels = "");
// RGB, red by column and green by row: no two pixels of 256 x 256 are the same.
std::string GradientPng(uint32_t width_px, uint32_t height_px);
// A grey PNG, white from column `first_white` on.
std::string HalfMaskPng(uint32_t width_px, uint32_t height_px, uint32_t first_white);

// Files that are no image to draw over, with what a refusal of each says.
struct BadImageFile {
  const char* name;
  std::string file;
  const char* refusal;
};
std::vector<BadImageFile> BadImageFiles();

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_SUPPORT_INPUT_IMAGE_FILES_H_
