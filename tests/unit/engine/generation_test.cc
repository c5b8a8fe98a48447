#include "server/engine/generation.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

TEST(StageNameTest, NamesEveryStageAsMetricsDo) {
  EXPECT_EQ(StageName(Stage::kTextEncode), "text_encode");
  EXPECT_EQ(StageName(Stage::kDenoise), "denoise");
  EXPECT_EQ(StageName(Stage::kVaeDecode), "vae_decode");
  EXPECT_EQ(StageName(Stage::kImageEncode), "image_encode");
}

}  // namespace
}  // namespace tightfit
