// An image of images: a row for each format, a column for each prompt, with labels.
#ifndef TIGHTFIT_CLIENT_FIDELITY_CONTACT_SHEET_H_
#define TIGHTFIT_CLIENT_FIDELITY_CONTACT_SHEET_H_

#include "server/image/png.h"

#include <string>
#include <vector>

namespace tightfit::fidelity {

// Keeps thumbnails only. Not thread-safe.
class ContactSheet {
 public:
  explicit ContactSheet(std::vector<std::string> column_labels)
      : column_labels_(std::move(column_labels)) {}

  // As many images as there are columns, all of one size.
  void AddRow(std::string label, const std::vector<const RgbImage*>& images);

  RgbImage Render() const;

 private:
  struct Row {
    std::string label;
    std::vector<RgbImage> thumbnails;
  };

  const std::vector<std::string> column_labels_;
  std::vector<Row> rows_;
};

// Small images are enlarged by a whole factor, so that their pixels stay true; others are
// averaged down. The larger side of the result has at most 128 px.
RgbImage Thumbnail(const RgbImage& image);

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_CONTACT_SHEET_H_
