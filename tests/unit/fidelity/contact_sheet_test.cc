#include "client/fidelity/contact_sheet.h"

#include <gtest/gtest.h>

namespace tightfit::fidelity {
namespace {

RgbImage Gradient(int width_px, int height_px) {
  RgbImage image{.width_px = width_px, .height_px = height_px, .rgb = {}};
  for (int i = 0; i < width_px * height_px; ++i) {
    const auto value = static_cast<uint8_t>(i);
    image.rgb.insert(image.rgb.end(), {value, value, value});
  }
  return image;
}

TEST(Thumbnail, EnlargesByAWholeFactorSoThatPixelsStayTrue) {
  const RgbImage image = Gradient(64, 32);
  const RgbImage thumbnail = Thumbnail(image);
  ASSERT_EQ(thumbnail.width_px, 128);
  ASSERT_EQ(thumbnail.height_px, 64);
  for (int y = 0; y < 64; ++y) {
    for (int x = 0; x < 128; ++x) {
      ASSERT_EQ(thumbnail.rgb[3 * (y * 128 + x)], image.rgb[3 * (y / 2 * 64 + x / 2)]);
    }
  }
  EXPECT_EQ(Thumbnail(Gradient(100, 100)).width_px, 100);
}

TEST(Thumbnail, AveragesLargeImagesDown) {
  const RgbImage image{
      .width_px = 1024, .height_px = 512, .rgb = std::vector<uint8_t>(1024 * 512 * 3, 77)};
  const RgbImage thumbnail = Thumbnail(image);
  EXPECT_EQ(thumbnail.width_px, 128);
  EXPECT_EQ(thumbnail.height_px, 64);
  EXPECT_EQ(thumbnail.rgb, std::vector<uint8_t>(128 * 64 * 3, 77));
}

TEST(ContactSheet, ShowsEveryImageAtItsRowAndColumn) {
  const RgbImage dark{.width_px = 64, .height_px = 64, .rgb = std::vector<uint8_t>(64 * 64 * 3, 1)};
  const RgbImage grey{.width_px = 64, .height_px = 64, .rgb = std::vector<uint8_t>(64 * 64 * 3, 9)};
  ContactSheet sheet({"a long prompt that does not fit into one line of the sheet", "другой"});
  sheet.AddRow("fp16", {&dark, &grey});
  sheet.AddRow("hf8 linear+conv", {&grey, &dark});
  const RgbImage image = sheet.Render();
  ASSERT_EQ(image.rgb.size(), static_cast<size_t>(image.width_px) * image.height_px * 3);
  // The last row and column end a gap before the border.
  const auto at = [&image](int right, int bottom) {
    return image.rgb[3 * ((image.height_px - bottom) * image.width_px + image.width_px - right)];
  };
  EXPECT_EQ(at(70, 70), 1);
  EXPECT_EQ(at(70 + 132, 70), 9);
  EXPECT_EQ(at(70, 70 + 132), 9);
  EXPECT_EQ(at(70 + 132, 70 + 132), 1);
  EXPECT_EQ(at(1, 1), 255);
}

}  // namespace
}  // namespace tightfit::fidelity
