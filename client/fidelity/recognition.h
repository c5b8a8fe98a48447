// Recognition by the nearest neighbour: which image of a known set is a drawn image most like?
#ifndef TIGHTFIT_CLIENT_FIDELITY_RECOGNITION_H_
#define TIGHTFIT_CLIENT_FIDELITY_RECOGNITION_H_

#include "server/base/status.h"
#include "server/image/png.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit::fidelity {

// The images that a model was trained on, each with a name of its own.
class ImageClasses {
 public:
  // `path` is a JSON file {"picture": PNG beside it, "tile_px", "columns", "names": [...]}; the PNG
  // holds a square tile for each name, row after row. Errors: BAD_CLASSES, CANNOT_READ.
  static Result<ImageClasses> Load(const std::string& path);

  size_t size() const { return names_.size(); }
  std::optional<size_t> Find(std::string_view name) const;
  const std::string& name(size_t index) const { return names_[index]; }

  // The class whose image has the least mean squared difference from `image`, both averaged
  // down to 32 x 32.
  size_t Nearest(const RgbImage& image) const;

 private:
  std::vector<std::string> names_;
  std::vector<std::vector<float>> thumbnails_;  // of BoxAverage
};

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_RECOGNITION_H_
