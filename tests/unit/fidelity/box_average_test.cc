#include "client/fidelity/box_average.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit::fidelity {
namespace {

using ::testing::ElementsAre;

// 4 x 2 pixels; red counts 0, 10, 20, ... in reading order, green is its tenth, blue is 7.
RgbImage Counting() {
  RgbImage image{.width_px = 4, .height_px = 2, .rgb = {}};
  for (uint8_t i = 0; i < 8; ++i) {
    image.rgb.insert(image.rgb.end(), {static_cast<uint8_t>(10 * i), i, 7});
  }
  return image;
}

TEST(BoxAverage, IsTheMeanOfEachBox) {
  EXPECT_THAT(BoxAverage(Counting(), {0, 0, 4, 2}, 2, 1),
              ElementsAre(25.0f, 2.5f, 7.0f, 45.0f, 4.5f, 7.0f));
}

TEST(BoxAverage, SeesNothingBesideItsArea) {
  EXPECT_THAT(BoxAverage(Counting(), {2, 1, 2, 1}, 1, 1), ElementsAre(65.0f, 6.5f, 7.0f));
}

TEST(BoxAverage, RepeatsPixelsWhereBoxesAreSmaller) {
  EXPECT_THAT(BoxAverage(Counting(), {3, 0, 1, 1}, 2, 1),
              ElementsAre(30.0f, 3.0f, 7.0f, 30.0f, 3.0f, 7.0f));
}

}  // namespace
}  // namespace tightfit::fidelity
