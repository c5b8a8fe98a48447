#include "server/pipeline/byte_pair_encoding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kUnknown = 99;

std::vector<int64_t> Encode(const TokenIds& tokens, const Merges& merges, std::string_view word) {
  const Result<BytePairEncoding> encoding = BytePairEncoding::Create(tokens, merges, kUnknown);
  EXPECT_TRUE(encoding.ok()) << encoding.status().message();
  std::vector<int64_t> ids;
  encoding->Encode(word, ids);
  return ids;
}

const TokenIds kTokens = {{"a", 0},        {"b", 1},      {"a</w>", 2},   {"b</w>", 3},
                          {"ab", 4},       {"ba", 5},     {"ab</w>", 6},  {"aba", 7},
                          {"aa", 8},       {"aa</w>", 9}, {"ba</w>", 10}, {"aaa</w>", 11},
                          {"\xC3\xA9", 12}};

TEST(BytePairEncodingTest, MergesThePairOfLowestRankFirst) {
  EXPECT_THAT(Encode(kTokens, {{"a", "b"}, {"b", "a</w>"}}, "aba"), ElementsAre(4, 2));
  EXPECT_THAT(Encode(kTokens, {{"b", "a</w>"}, {"a", "b"}}, "aba"), ElementsAre(0, 10));
}

TEST(BytePairEncodingTest, MergesTheLeftmostOfEqualPairsFirst) {
  EXPECT_THAT(Encode(kTokens, {{"a", "a"}}, "aaab"), ElementsAre(8, 0, 3));
}

TEST(BytePairEncodingTest, DropsACandidateWhoseSidesWereMergedMeanwhile) {
  // Both pairs of "aba" are candidates at first; the first merge takes the `b` of the second.
  EXPECT_THAT(Encode(kTokens, {{"a", "b"}, {"b", "a"}, {"ab", "a"}}, "abab"), ElementsAre(7, 3));
}

TEST(BytePairEncodingTest, MergesWhatAnEarlierMergeMade) {
  EXPECT_THAT(Encode(kTokens, {{"a", "a</w>"}, {"a", "aa</w>"}}, "aaa"), ElementsAre(11));
}

TEST(BytePairEncodingTest, KeepsTheEndOfAWordApartFromItsInside) {
  EXPECT_THAT(Encode(kTokens, {{"a", "b"}}, "ab"), ElementsAre(0, 3));
  EXPECT_THAT(Encode(kTokens, {{"a", "b</w>"}}, "ab"), ElementsAre(6));
}

TEST(BytePairEncodingTest, EncodesBytesAndNotCharacters) {
  // U+00E9 is C3 A9 in UTF-8; the token "\u00E9" stands for the byte E9.
  EXPECT_THAT(Encode(kTokens, {}, "\xC3\xA9"), ElementsAre(kUnknown, kUnknown));
  EXPECT_THAT(Encode(kTokens, {},
                     "\xE9"
                     "a"),
              ElementsAre(12, 2));
}

TEST(BytePairEncodingTest, GivesNothingForAnEmptyWord) {
  EXPECT_THAT(Encode(kTokens, {}, ""), ElementsAre());
}

TEST(BytePairEncodingTest, RefusesMergesThatContradictTheTokens) {
  for (const Merges& merges : {Merges{{"a", "z"}}, Merges{{"z", "a"}}, Merges{{"b", "b"}},
                               Merges{{"a", "b"}, {"b", "a"}, {"a", "b"}}}) {
    const Result<BytePairEncoding> encoding = BytePairEncoding::Create(kTokens, merges, kUnknown);
    ASSERT_FALSE(encoding.ok()) << merges[0].first << " " << merges[0].second;
    EXPECT_EQ(encoding.status().code(), StatusCode::kDataLoss);
    EXPECT_THAT(encoding.status().message(), HasSubstr("merges.txt"));
  }
}

}  // namespace
}  // namespace tightfit
