#include "client/fidelity/recognition.h"

#include "client/fidelity/text_file.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <span>
#include <utility>

namespace tightfit::fidelity {
namespace {

constexpr int64_t kMaxAtlasPixels = 1 << 26;

Status BadClasses(const std::string& what) {
  return {StatusCode::kInvalidArgument, "BAD_CLASSES",
          "--classes: " + what + "; it must be {\"picture\", \"tile_px\", \"columns\", \"names\"}"};
}

}  // namespace

Result<PictureClasses> PictureClasses::Load(const std::string& path) {
  TF_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
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
  PictureClasses classes;
  for (const auto& name : json["names"]) {
    if (!name.is_string()) return BadClasses("a name is no text");
    classes.names_.push_back(name);
  }
  const std::filesystem::path file(json["picture"].get<std::string>());
  if (file.has_parent_path()) return BadClasses("the picture must lie beside it");
  TF_ASSIGN_OR_RETURN(const std::string bytes,
                      ReadTextFile(std::filesystem::path(path).replace_filename(file)));
  TF_ASSIGN_OR_RETURN(
      const DecodedPng png,
      DecodePng(std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()),
                kMaxAtlasPixels));
  const int tile_px = json["tile_px"];
  const int columns = json["columns"];
  const int rows = static_cast<int>((classes.names_.size() + columns - 1) / columns);
  if (png.image.width_px < columns * tile_px || png.image.height_px < rows * tile_px) {
    return BadClasses("the picture is too small for its tiles");
  }
  for (size_t i = 0; i < classes.names_.size(); ++i) {
    const int column = static_cast<int>(i) % columns;
    const int row = static_cast<int>(i) / columns;
    classes.thumbnails_.push_back(
        Reduced(png.image, column * tile_px, row * tile_px, tile_px, tile_px));
  }
  return classes;
}

std::optional<size_t> PictureClasses::Find(std::string_view name) const {
  const auto found = std::find(names_.begin(), names_.end(), name);
  if (found == names_.end()) return std::nullopt;
  return static_cast<size_t>(found - names_.begin());
}

size_t PictureClasses::Nearest(const RgbImage& picture) const {
  const Thumbnail wanted = Reduced(picture, 0, 0, picture.width_px, picture.height_px);
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

PictureClasses::Thumbnail PictureClasses::Reduced(const RgbImage& image, int left_px, int top_px,
                                                  int width_px, int height_px) {
  Thumbnail thumbnail{};
  for (int row = 0; row < kSide; ++row) {
    const int top = top_px + row * height_px / kSide;
    const int bottom = std::max(top_px + (row + 1) * height_px / kSide, top + 1);
    for (int column = 0; column < kSide; ++column) {
      const int left = left_px + column * width_px / kSide;
      const int right = std::max(left_px + (column + 1) * width_px / kSide, left + 1);
      for (int channel = 0; channel < 3; ++channel) {
        int sum = 0;
        for (int y = top; y < bottom; ++y) {
          for (int x = left; x < right; ++x) {
            sum += image.rgb[3 * (static_cast<size_t>(y) * image.width_px + x) + channel];
          }
        }
        thumbnail[3 * (row * kSide + column) + channel] =
            static_cast<float>(sum) / static_cast<float>((bottom - top) * (right - left));
      }
    }
  }
  return thumbnail;
}

}  // namespace tightfit::fidelity
