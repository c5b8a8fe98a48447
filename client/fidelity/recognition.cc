#include "client/fidelity/recognition.h"

#include "client/cli/whole_file.h"
#include "client/fidelity/box_average.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <span>
#include <utility>

namespace tightfit::fidelity {
namespace {

// Images are compared at kComparedSidePx x kComparedSidePx.
constexpr int32_t kComparedSidePx = 32;
constexpr int64_t kMaxAtlasPixels = 1 << 26;
constexpr size_t kMaxFileBytes = 64 << 20;

Status BadClasses(const std::string& what) {
  return {StatusCode::kInvalidArgument, "BAD_CLASSES",
          "--classes: " + what + "; it must be {\"image\", \"tile_px\", \"columns\", \"names\"}"};
}

}  // namespace

Result<ImageClasses> ImageClasses::Load(const std::string& path) {
  TF_ASSIGN_OR_RETURN(const std::string text, cli::ReadWholeFile(path, kMaxFileBytes));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto is_count = [&json](const char* key) {
    return json.contains(key) && json[key].is_number_unsigned() && json[key] >= 1 &&
           json[key] <= 4096;
  };
  if (!json.is_object() || !is_count("tile_px") || !is_count("columns") ||
      !json.contains("picture") || !json["picture"].is_string() || !json.contains("names") ||
      !json["names"].is_array() || json["names"].empty()) {
    return BadClasses("a key is missing or of another type");
  }
  ImageClasses classes;
  for (const auto& name : json["names"]) {
    if (!name.is_string()) return BadClasses("a name is no text");
    classes.names_.push_back(name);
  }
  const std::filesystem::path file(json["picture"].get<std::string>());
  if (file.has_parent_path()) return BadClasses("the image must lie beside it");
  TF_ASSIGN_OR_RETURN(
      const std::string bytes,
      cli::ReadWholeFile(std::filesystem::path(path).replace_filename(file), kMaxFileBytes));
  TF_ASSIGN_OR_RETURN(
      const DecodedPng png,
      DecodePng(std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()),
                kMaxAtlasPixels));
  const int tile_px = json["tile_px"];
  const int columns = json["columns"];
  const int rows = static_cast<int>((classes.names_.size() + columns - 1) / columns);
  if (png.image.width_px < columns * tile_px || png.image.height_px < rows * tile_px) {
    return BadClasses("the image is too small for its tiles");
  }
  for (size_t i = 0; i < classes.names_.size(); ++i) {
    const int column = static_cast<int>(i) % columns;
    const int row = static_cast<int>(i) / columns;
    classes.thumbnails_.push_back(BoxAverage(png.image,
                                             {column * tile_px, row * tile_px, tile_px, tile_px},
                                             kComparedSidePx, kComparedSidePx));
  }
  return classes;
}

std::optional<size_t> ImageClasses::Find(std::string_view name) const {
  const auto found = std::find(names_.begin(), names_.end(), name);
  if (found == names_.end()) return std::nullopt;
  return static_cast<size_t>(found - names_.begin());
}

size_t ImageClasses::Nearest(const RgbImage& image) const {
  const std::vector<float> wanted =
      BoxAverage(image, {0, 0, image.width_px, image.height_px}, kComparedSidePx, kComparedSidePx);
  size_t nearest = 0;
  double least = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < thumbnails_.size(); ++i) {
    double sum = 0;
    for (size_t k = 0; k < wanted.size(); ++k) {
      const double error = wanted[k] - thumbnails_[i][k];
      sum += error * error;
    }
    if (sum < least) {
      least = sum;
      nearest = i;
    }
  }
  return nearest;
}

}  // namespace tightfit::fidelity
