#include "client/fidelity/recognition.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tightfit::fidelity {
namespace {

using nlohmann::json;

// Tiles of 32 px, two columns: red, green, blue.
class Recognition : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("tightfit-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    RgbImage atlas{.width_px = 64, .height_px = 64, .rgb = std::vector<uint8_t>(64 * 64 * 3, 255)};
    for (int y = 0; y < 64; ++y) {
      for (int x = 0; x < 64; ++x) {
        const int tile = y / 32 * 2 + x / 32;
        if (tile > 2) continue;
        for (int c = 0; c < 3; ++c) atlas.rgb[3 * (y * 64 + x) + c] = c == tile ? 255 : 0;
      }
    }
    const auto png = EncodePng(atlas, {});
    std::ofstream(folder_ / "classes.png", std::ios::binary)
        .write(reinterpret_cast<const char*>(png->data()), static_cast<int64_t>(png->size()));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Result<ImageClasses> Load(const json& content) {
    std::ofstream(folder_ / "classes.json") << content.dump();
    return ImageClasses::Load(folder_ / "classes.json");
  }

  static json Valid() {
    return {{"picture", "classes.png"},
            {"tile_px", 32},
            {"columns", 2},
            {"names", {"red", "green", "blue"}}};
  }

  static RgbImage Flat(int side_px, uint8_t red, uint8_t green, uint8_t blue) {
    RgbImage image{.width_px = side_px, .height_px = side_px, .rgb = {}};
    for (int i = 0; i < side_px * side_px; ++i) {
      image.rgb.insert(image.rgb.end(), {red, green, blue});
    }
    return image;
  }

  std::filesystem::path folder_;
};

TEST_F(Recognition, FindsTheNearestClassAtAnySize) {
  const auto classes = Load(Valid());
  ASSERT_TRUE(classes.ok()) << classes.status().message();
  EXPECT_EQ(classes->size(), 3u);
  for (const int side_px : {7, 32, 64, 100}) {
    EXPECT_EQ(classes->name(classes->Nearest(Flat(side_px, 200, 30, 10))), "red");
    EXPECT_EQ(classes->name(classes->Nearest(Flat(side_px, 10, 120, 60))), "green");
    EXPECT_EQ(classes->name(classes->Nearest(Flat(side_px, 90, 30, 255))), "blue");
  }
  EXPECT_EQ(classes->Find("blue"), 2u);
  EXPECT_EQ(classes->Find("grey"), std::nullopt);
}

TEST_F(Recognition, RefusesAFileThatIsNotOne) {
  const auto without = [](const char* key) {
    json content = Valid();
    content.erase(key);
    return content;
  };
  const auto with = [](const char* key, const json& value) {
    json content = Valid();
    content[key] = value;
    return content;
  };
  for (const json& content :
       {json(3), without("picture"), without("tile_px"), without("columns"), without("names"),
        with("tile_px", 0), with("tile_px", -1), with("columns", 1 << 20), with("names", {1, 2}),
        with("names", json::array()), with("tile_px", 64), with("picture", "../classes.png")}) {
    EXPECT_EQ(Load(content).status().reason(), "BAD_CLASSES") << content;
  }
  EXPECT_EQ(Load(with("picture", "absent.png")).status().reason(), "CANNOT_READ");
  EXPECT_EQ(ImageClasses::Load(folder_ / "absent.json").status().reason(), "CANNOT_READ");
}

}  // namespace
}  // namespace tightfit::fidelity
