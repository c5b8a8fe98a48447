#include "client/fidelity/text_painter.h"

#include <ft2build.h>
#include FT_FREETYPE_H

#include <algorithm>
#include <cstdint>

namespace tightfit::fidelity {
namespace {

constexpr const char* kFontFile = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";

// The code point at the front of `text`, which is moved past it. Bytes that are no UTF-8 count as
// one character each.
char32_t TakeCodePoint(std::string_view* text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>((*text)[i]); };
  const unsigned char first = byte(0);
  const size_t length = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  char32_t code_point = first;
  if (length > 1 && length <= text->size()) {
    code_point = first & (0x7F >> length);
    for (size_t i = 1; i < length; ++i) code_point = code_point << 6 | (byte(i) & 0x3F);
  }
  text->remove_prefix(std::min(length, text->size()));
  return code_point;
}

}  // namespace

struct TextPainter::Font {
  FT_Library library = nullptr;
  FT_Face face = nullptr;

  // Calls `visit(glyph, x)` for each character; returns the width of all.
  template <typename Visit>
  int ForEach(std::string_view text, const Visit& visit) const {
    int x = 0;
    while (!text.empty()) {
      if (FT_Load_Char(face, TakeCodePoint(&text), FT_LOAD_RENDER) != 0) continue;
      visit(*face->glyph, x);
      x += static_cast<int>(face->glyph->advance.x >> 6);
    }
    return x;
  }
};

TextPainter::TextPainter(int height_px) : font_(std::make_unique<Font>()) {
  if (FT_Init_FreeType(&font_->library) != 0) return;
  if (FT_New_Face(font_->library, kFontFile, 0, &font_->face) != 0) {
    font_->face = nullptr;
    return;
  }
  FT_Set_Pixel_Sizes(font_->face, 0, static_cast<FT_UInt>(height_px));
}

TextPainter::~TextPainter() {
  if (font_->face != nullptr) FT_Done_Face(font_->face);
  if (font_->library != nullptr) FT_Done_FreeType(font_->library);
}

bool TextPainter::has_font() const { return font_->face != nullptr; }

int TextPainter::WidthPx(std::string_view text) const {
  if (!has_font()) return 0;
  return font_->ForEach(text, [](const FT_GlyphSlotRec&, int) {});
}

void TextPainter::Paint(std::string_view text, int left_px, int baseline_px,
                        RgbImage* image) const {
  if (!has_font()) return;
  font_->ForEach(text, [&](const FT_GlyphSlotRec& glyph, int offset) {
    const FT_Bitmap& bitmap = glyph.bitmap;  // 8-bit coverage
    for (int row = 0; row < static_cast<int>(bitmap.rows); ++row) {
      const int y = baseline_px - glyph.bitmap_top + row;
      if (y < 0 || y >= image->height_px) continue;
      for (int column = 0; column < static_cast<int>(bitmap.width); ++column) {
        const int x = left_px + offset + glyph.bitmap_left + column;
        if (x < 0 || x >= image->width_px) continue;
        const int coverage = bitmap.buffer[row * bitmap.pitch + column];
        uint8_t* pixel = &image->rgb[3 * (static_cast<size_t>(y) * image->width_px + x)];
        for (int c = 0; c < 3; ++c)
          pixel[c] = static_cast<uint8_t>(pixel[c] * (255 - coverage) / 255);
      }
    }
  });
}

}  // namespace tightfit::fidelity
