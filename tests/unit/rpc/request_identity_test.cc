#include "server/rpc/request_identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace tightfit {
namespace {

TEST(RequestIdTest, IsARandomUuidOfVersion4) {
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    const std::string id = MakeRequestId();
    EXPECT_THAT(id, ::testing::MatchesRegex(
                        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
    EXPECT_TRUE(IsRequestId(id));
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 100u);
}

TEST(RequestIdTest, AcceptsItsCharactersUpToItsLength) {
  EXPECT_TRUE(IsRequestId("a"));
  EXPECT_TRUE(IsRequestId("AZaz09._-"));
  EXPECT_TRUE(IsRequestId(std::string(64, 'x')));
  EXPECT_FALSE(IsRequestId(""));
  EXPECT_FALSE(IsRequestId(std::string(65, 'x')));
  for (const char* bad : {"a b", "a/b", "a\nb", "\xC3\xA9", "a:b"}) {
    EXPECT_FALSE(IsRequestId(bad)) << bad;
  }
}

TEST(SeedTest, IsDrawnFrom32Bits) {
  std::set<int64_t> seeds;
  int64_t largest = 0;
  for (int i = 0; i < 1000; ++i) {
    const int64_t seed = DrawSeed();
    EXPECT_GE(seed, 0);
    EXPECT_LT(seed, int64_t{1} << 32);
    largest = std::max(largest, seed);
    seeds.insert(seed);
  }
  EXPECT_GT(seeds.size(), 990u);
  EXPECT_GT(largest, int64_t{1} << 31) << "1000 draws all below the middle: probability 2^-1000";
}

}  // namespace
}  // namespace tightfit
