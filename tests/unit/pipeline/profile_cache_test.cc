#include "server/pipeline/profile_cache.h"

#include "tests/unit/model/temporary_directory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace tightfit {
namespace {

RequestCosts SomeCosts() {
  RequestCosts costs;
  costs.encode_bytes = 1.0 / 3.0;
  costs.encode_chunk_bytes = 2;
  costs.join_row_chunk_bytes = 3;
  costs.row_bytes = 4;
  costs.row_latent_bytes = 5.5;
  costs.row_chunk_bytes = 6;
  costs.kept_latent_bytes = 7;
  costs.denoise_one.points = {{64, 100}, {256, 1000.25}};
  costs.denoise.points = {{128, 200}};
  costs.denoise_uneven = {{1.5, {{{10, 20}, {30, 40}}}}, {2.5, {}}};
  costs.slim_width = 4;
  costs.denoise_slim.points = {{8, 9}};
  costs.denoise_row_bytes = 10;
  costs.cross_row_chunk_bytes = 11;
  costs.cross.points = {{12, 13}};
  costs.decode.points = {{14, 15}};
  costs.encode_image.points = {{16, 17}};
  costs.encode_image_latent_seconds = 3e-7;
  costs.denoise_latent_seconds = 1e-7;
  costs.decode_latent_seconds = 2e-7;
  return costs;
}

TEST(ProfileCacheTest, WhatIsKeptComesBackToTheBit) {
  const TemporaryDirectory directory;
  const std::string place = directory.path() + "/made/when/needed";
  ProfileCache(place).Keep("key", SomeCosts());
  const std::optional<RequestCosts> found = ProfileCache(place).Find("key");
  ASSERT_TRUE(found.has_value());
  // Every field is in the text, and the text is the same.
  EXPECT_EQ(CostsText("key", *found), CostsText("key", SomeCosts()));
  EXPECT_EQ(found->encode_bytes, 1.0 / 3.0);
  EXPECT_EQ(found->denoise_uneven.at(0).call.points.at(1).bytes, 40);
  EXPECT_EQ(found->slim_width, 4);
  EXPECT_EQ(found->encode_image.points.at(0).bytes, 17);
  EXPECT_EQ(found->encode_image_latent_seconds, 3e-7);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(place), {}), 1)
      << "nothing else is left there";
}

TEST(ProfileCacheTest, AnotherKeyFindsNothing) {
  const TemporaryDirectory directory;
  const ProfileCache cache(directory.path());
  cache.Keep("one", SomeCosts());
  EXPECT_FALSE(cache.Find("two").has_value());
  EXPECT_FALSE(CostsOfText("two", CostsText("one", SomeCosts())).has_value());
}

TEST(ProfileCacheTest, WithoutADirectoryNothingIsKept) {
  const ProfileCache cache("");
  cache.Keep("key", SomeCosts());
  EXPECT_FALSE(cache.Find("key").has_value());
}

TEST(ProfileCacheTest, ADirectoryThatCannotBeWrittenCostsNothing) {
  const TemporaryDirectory directory;
  const ProfileCache cache(directory.Write("file", "") + "/below");
  cache.Keep("key", SomeCosts());
  EXPECT_FALSE(cache.Find("key").has_value());
}

TEST(ProfileCacheTest, DamagedTextIsAsGoodAsNone) {
  const std::string text = CostsText("key", SomeCosts());
  ASSERT_TRUE(CostsOfText("key", text).has_value());
  for (size_t size = 0; size + 2 < text.size(); ++size) {
    EXPECT_FALSE(CostsOfText("key", text.substr(0, size)).has_value()) << size;
  }
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    const size_t at = changed.find(from);
    EXPECT_NE(at, changed.npos) << from;
    return changed.replace(at, from.size(), to);
  };
  for (const std::string& changed :
       {with("\"version\":2", "\"version\":1"), with("\"row_bytes\":4.0", "\"row_bytes\":-4.0"),
        with("\"row_bytes\":4.0", "\"row_bytes\":1e300"),
        with("\"row_bytes\":4.0", "\"row_bytes\":null"), with("[64.0,", "[640.0,"),
        with("[64.0,", "[[],"), with("\"slim_width\":4", "\"slim_width\":-1")}) {
    EXPECT_FALSE(CostsOfText("key", changed).has_value()) << changed.substr(0, 200);
  }
}

}  // namespace
}  // namespace tightfit
