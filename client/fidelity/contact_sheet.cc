#include "client/fidelity/contact_sheet.h"

#include "client/fidelity/box_average.h"
#include "client/fidelity/text_painter.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace tightfit::fidelity {
namespace {

constexpr int kCellSidePx = 128;
constexpr int kGap = 4;
constexpr int kTextHeight = 11;
constexpr int kLineHeight = 14;
constexpr int kHeadingLines = 3;

// Breaks at blanks, at most `count` lines that fit `width_px`; the last one is cut short.
std::vector<std::string> Lines(const std::string& text, int width_px, size_t count,
                               const TextPainter& painter) {
  std::vector<std::string> lines(1);
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    const std::string longer = lines.back().empty() ? word : lines.back() + " " + word;
    if (!lines.back().empty() && painter.WidthPx(longer) > width_px) {
      if (lines.size() == count) return lines;
      lines.push_back(word);
    } else {
      lines.back() = longer;
    }
    begin = end + 1;
  }
  return lines;
}

}  // namespace

RgbImage Thumbnail(const RgbImage& image) {
  const int larger = std::max(image.width_px, image.height_px);
  RgbImage result;
  if (larger <= kCellSidePx) {
    const int factor = kCellSidePx / larger;
    result.width_px = image.width_px * factor;
    result.height_px = image.height_px * factor;
  } else {
    result.width_px = std::max(1, image.width_px * kCellSidePx / larger);
    result.height_px = std::max(1, image.height_px * kCellSidePx / larger);
  }
  const Area whole{.width_px = image.width_px, .height_px = image.height_px};
  for (const float mean : BoxAverage(image, whole, result.width_px, result.height_px)) {
    result.rgb.push_back(static_cast<uint8_t>(std::lround(mean)));
  }
  return result;
}

void ContactSheet::AddRow(std::string label, const std::vector<const RgbImage*>& images) {
  Row row{.label = std::move(label), .thumbnails = {}};
  for (const RgbImage* image : images) row.thumbnails.push_back(Thumbnail(*image));
  rows_.push_back(std::move(row));
}

RgbImage ContactSheet::Render() const {
  const TextPainter painter(kTextHeight);
  int label_width = 0;
  int cell_width = kCellSidePx;
  int cell_height = kCellSidePx;
  for (const Row& row : rows_) {
    label_width = std::max(label_width, painter.WidthPx(row.label) + 2 * kGap);
    for (const RgbImage& thumbnail : row.thumbnails) {
      cell_width = thumbnail.width_px;
      cell_height = thumbnail.height_px;
    }
  }
  const int heading_height = painter.has_font() ? kHeadingLines * kLineHeight + kGap : 0;
  RgbImage sheet;
  sheet.width_px = label_width + static_cast<int>(column_labels_.size()) * (cell_width + kGap);
  sheet.height_px = heading_height + static_cast<int>(rows_.size()) * (cell_height + kGap);
  sheet.rgb.assign(static_cast<size_t>(sheet.width_px) * sheet.height_px * 3, 255);
  for (size_t column = 0; column < column_labels_.size(); ++column) {
    const int left = label_width + static_cast<int>(column) * (cell_width + kGap);
    int baseline = kTextHeight;
    for (const std::string& line :
         Lines(column_labels_[column], cell_width, kHeadingLines, painter)) {
      painter.Paint(line, left, baseline, &sheet);
      baseline += kLineHeight;
    }
  }
  for (size_t i = 0; i < rows_.size(); ++i) {
    const int top = heading_height + static_cast<int>(i) * (cell_height + kGap);
    painter.Paint(rows_[i].label, kGap, top + cell_height / 2, &sheet);
    for (size_t column = 0; column < rows_[i].thumbnails.size(); ++column) {
      const RgbImage& thumbnail = rows_[i].thumbnails[column];
      const int left = label_width + static_cast<int>(column) * (cell_width + kGap);
      for (int y = 0; y < thumbnail.height_px; ++y) {
        std::memcpy(&sheet.rgb[3 * (static_cast<size_t>(top + y) * sheet.width_px + left)],
                    &thumbnail.rgb[3 * static_cast<size_t>(y) * thumbnail.width_px],
                    3 * static_cast<size_t>(thumbnail.width_px));
      }
    }
  }
  return sheet;
}

}  // namespace tightfit::fidelity
