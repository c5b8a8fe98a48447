#include "server/pipeline/sdxl_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(LoadSdxlModelTest, RefusesADeviceThatThisBuildLacksInOneLine) {
  for (const char* device : {"cuda:0", "cuda", "mps"}) {
    const auto model = LoadSdxlModel({.name = "m", .path = "/nowhere"}, device, nullptr);
    ASSERT_FALSE(model.ok());
    EXPECT_EQ(model.status().code(), StatusCode::kUnimplemented);
    EXPECT_THAT(model.status().message(), HasSubstr("is not available in this build"));
    EXPECT_THAT(model.status().message(), StartsWith(device));
    EXPECT_THAT(model.status().message(), Not(HasSubstr("\n")));
  }
}

TEST(LoadSdxlModelTest, AMissingDirectoryIsRefusedWithoutItsPath) {
  const auto model = LoadSdxlModel({.name = "m", .path = "/nowhere/secret"}, "cpu", nullptr);
  ASSERT_FALSE(model.ok());
  EXPECT_THAT(model.status().message(), Not(HasSubstr("secret")));
  EXPECT_THAT(model.status().message(), HasSubstr("model.json"));
}

TEST(LibTorchVersionTest, IsTheOneThatTheBuildPins) {
  EXPECT_THAT(LibTorchVersion(), StartsWith("2.11.0"));
}

}  // namespace
}  // namespace tightfit
