#include "server/pipeline/clip_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ClipWordsTest, SeparatesLettersSingleNumbersAndTheRest) {
  EXPECT_THAT(SplitIntoClipWords("cat12, (a)"), ElementsAre("cat", "1", "2", ",", "(", "a", ")"));
  EXPECT_THAT(SplitIntoClipWords("a...b"), ElementsAre("a", "...", "b"));
}

TEST(ClipWordsTest, TakesContractionsOnlyWhereAWordMayBegin) {
  EXPECT_THAT(SplitIntoClipWords("they're"), ElementsAre("they", "'re"));
  EXPECT_THAT(SplitIntoClipWords("'sx"), ElementsAre("'s", "x"));
  EXPECT_THAT(SplitIntoClipWords("!'s"), ElementsAre("!'", "s"));
}

TEST(ClipWordsTest, SplitsTypedSpecialTokensInThree) {
  EXPECT_THAT(SplitIntoClipWords("a<|endoftext|>!"),
              ElementsAre("a", "<|", "endoftext", "|>", "!"));
  EXPECT_THAT(SplitIntoClipWords("!<|endoftext|>!"), ElementsAre("!<|", "endoftext", "|>!"));
}

TEST(ClipWordsTest, LeavesOutWhiteSpace) {
  EXPECT_THAT(SplitIntoClipWords(""), IsEmpty());
  EXPECT_THAT(SplitIntoClipWords(" "), IsEmpty());
  EXPECT_THAT(SplitIntoClipWords(" a b "), ElementsAre("a", "b"));
}

TEST(ClipWordsTest, SplitsCombiningMarksFromLetters) {
  EXPECT_THAT(SplitIntoClipWords("q\u0323a"), ElementsAre("q", "\u0323", "a"));
}

}  // namespace
}  // namespace tightfit
