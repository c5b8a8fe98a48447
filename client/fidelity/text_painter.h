// Writes labels into images.
#ifndef TIGHTFIT_CLIENT_FIDELITY_TEXT_PAINTER_H_
#define TIGHTFIT_CLIENT_FIDELITY_TEXT_PAINTER_H_

#include "server/image/png.h"

#include <memory>
#include <string_view>

namespace tightfit::fidelity {

// One font (Debian's fonts-dejavu-core) in one size. Without the font's file nothing is painted.
class TextPainter {
 public:
  explicit TextPainter(int height_px);
  ~TextPainter();
  TextPainter(const TextPainter&) = delete;
  TextPainter& operator=(const TextPainter&) = delete;

  bool has_font() const;
  // How far `text`, UTF-8, reaches to the right.
  int WidthPx(std::string_view text) const;
  // Black on what is there; (left_px, baseline_px) is where the text begins. Parts outside the
  // image are cut off.
  void Paint(std::string_view text, int left_px, int baseline_px, RgbImage* image) const;

 private:
  struct Font;
  const std::unique_ptr<Font> font_;
};

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_TEXT_PAINTER_H_
