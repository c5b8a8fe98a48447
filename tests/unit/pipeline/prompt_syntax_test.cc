#include "server/pipeline/prompt_syntax.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

namespace tightfit {
namespace {

// "|text*weight|text", a break as "#"; weights of 1 are left out.
std::string Parsed(std::string_view prompt) {
  std::string text;
  for (const PromptPart& part : ParseWeightedPrompt(prompt)) {
    char weight[32] = "";
    if (part.weight != 1.0) std::snprintf(weight, sizeof(weight), "*%.4g", part.weight);
    text += (part.starts_chunk ? "#" : "|") + part.text + weight;
  }
  return text;
}

TEST(PromptSyntaxTest, TextWithoutMarkupIsOnePart) {
  EXPECT_EQ(Parsed(""), "|");
  EXPECT_EQ(Parsed("a red apple, 3:4"), "|a red apple, 3:4");
}

TEST(PromptSyntaxTest, BracketsWeigh) {
  EXPECT_EQ(Parsed("a (red) apple"), "|a |red*1.1| apple");
  EXPECT_EQ(Parsed("a (red:1.3) apple"), "|a |red*1.3| apple");
  EXPECT_EQ(Parsed("a [red] apple"), "|a |red*0.9091| apple");
  EXPECT_EQ(Parsed("(red: 1.3 )"), "|red*1.3");
  EXPECT_EQ(Parsed("(red:+.5)(blue:-1)"), "|red*0.5|blue*-1");
}

TEST(PromptSyntaxTest, NestedBracketsMultiply) {
  EXPECT_EQ(Parsed("((red))"), "|red*1.21");
  EXPECT_EQ(Parsed("(a (b:2) c:3)"), "|a *3|b*6| c*3");
  EXPECT_EQ(Parsed("([a])"), "|a");
}

TEST(PromptSyntaxTest, AnUnclosedBracketReachesToTheEnd) {
  EXPECT_EQ(Parsed("a (b c"), "|a |b c*1.1");
  EXPECT_EQ(Parsed("[b"), "|b*0.9091");
}

TEST(PromptSyntaxTest, ABracketThatWasNeverOpenedIsText) {
  EXPECT_EQ(Parsed("a) b] c:2)"), "|a) b] c:2)");
}

TEST(PromptSyntaxTest, ABackslashMakesABracketText) {
  EXPECT_EQ(Parsed(R"(a \(b\) \[c\] d\\e f\g)"), R"(|a (b) [c] d\e fg)");
}

TEST(PromptSyntaxTest, ANumberThatIsNoneIsText) {
  EXPECT_EQ(Parsed("(a:1.2.3)"), "|a:1.2.3*1.1");
  EXPECT_EQ(Parsed("(a:)"), "|a:*1.1");
  EXPECT_EQ(Parsed("(a:b)"), "|a:b*1.1");
}

TEST(PromptSyntaxTest, BreakStartsAChunkWhereItIsAWord) {
  EXPECT_EQ(Parsed("a BREAK b"), "|a#b");
  EXPECT_EQ(Parsed("a\nBREAK, b"), "|a#, b");
  EXPECT_EQ(Parsed("BREAKFAST and UNBREAK and break"), "|BREAKFAST and UNBREAK and break");
  EXPECT_EQ(Parsed("(a BREAK b:2)"), "|a*2#b*2");
  EXPECT_EQ(Parsed("a BREAK BREAK b"), "|a##b");
}

TEST(PromptSyntaxTest, TagsOfExtraNetworksGoAway) {
  EXPECT_EQ(Parsed("red apple <lora:add_detail:0.8>"), "|red apple ");
  EXPECT_EQ(Parsed("a (red <lyco:x(1)> apple:1.2)"), "|a |red  apple*1.2");
  EXPECT_EQ(Parsed("a <3 b <c>"), "|a <3 b <c>");
}

TEST(PromptSyntaxTest, WeightsStayWithinWhatGivesAnImage) {
  EXPECT_EQ(Parsed("(a:1000)"), "|a*10");
  EXPECT_EQ(Parsed("(a:-1000)"), "|a*-10");
  const std::string deep(2000, '(');
  EXPECT_EQ(Parsed(deep + "a"), "|a*10");
}

}  // namespace
}  // namespace tightfit
