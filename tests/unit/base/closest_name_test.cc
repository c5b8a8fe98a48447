#include "server/base/closest_name.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

const std::vector<std::string_view> kNames = {"format", "scope", "path", "compute_dtype"};

TEST(ClosestNameTest, FindsTransposedMissingAndExtraLetters) {
  EXPECT_EQ(ClosestName("formt", kNames), "format");
  EXPECT_EQ(ClosestName("foramt", kNames), "format");
  EXPECT_EQ(ClosestName("formatt", kNames), "format");
  EXPECT_EQ(ClosestName("compute_type", kNames), "compute_dtype");
}

TEST(ClosestNameTest, FindsNothingForAnotherWord) {
  EXPECT_EQ(ClosestName("temperature", kNames), "");
  EXPECT_EQ(ClosestName("", kNames), "");
  EXPECT_EQ(ClosestName("zz", kNames), "");
}

TEST(ClosestNameTest, AsksOnlyWhereSomethingIsClose) {
  EXPECT_EQ(DidYouMean("scop", kNames), "; did you mean \"scope\"?");
  EXPECT_EQ(DidYouMean("temperature", kNames), "");
}

}  // namespace
}  // namespace tightfit
