#include "client/fidelity/prompt_list.h"

#include <gtest/gtest.h>

namespace tightfit::fidelity {
namespace {

TEST(PromptList, TakesOnePromptALineAndTheClassAfterTheLastEqualsSign) {
  const auto prompts = ParsePrompts(
      "# a comment\n\n a red apple = red apple \r\nE = m c^2 = formula\nwithout class\nx=y\n");
  ASSERT_TRUE(prompts.ok());
  ASSERT_EQ(prompts->size(), 4u);
  EXPECT_EQ((*prompts)[0].text, "a red apple");
  EXPECT_EQ((*prompts)[0].class_name, "red apple");
  EXPECT_EQ((*prompts)[1].text, "E = m c^2");
  EXPECT_EQ((*prompts)[1].class_name, "formula");
  EXPECT_EQ((*prompts)[2].text, "without class");
  EXPECT_EQ((*prompts)[2].class_name, "");
  EXPECT_EQ((*prompts)[3].text, "x=y");
}

TEST(PromptList, RefusesAFileWithoutPrompts) {
  for (const char* text : {"", "\n\n", "# only a comment\n", "   "}) {
    EXPECT_EQ(ParsePrompts(text).status().reason(), "NO_PROMPTS") << text;
  }
}

TEST(PromptListTest, AByteOrderMarkIsNoPartOfTheFirstPrompt) {
  const auto prompts = ParsePrompts("\xEF\xBB\xBFred apple\n");
  ASSERT_TRUE(prompts.ok());
  EXPECT_EQ((*prompts)[0].text, "red apple");
  EXPECT_FALSE(ParsePrompts("\xEF\xBB\xBF").ok());
}

TEST(PromptListTest, AClassNeedsClasses) {
  const std::vector<Prompt> named = {{.text = "a", .class_name = ""},
                                     {.text = "b", .class_name = "nope"}};
  EXPECT_EQ(CheckClasses(named, false).reason(), "CLASSES_MISSING");
  EXPECT_NE(CheckClasses(named, false).message().find("nope"), std::string::npos);
  EXPECT_TRUE(CheckClasses(named, true).ok());
  EXPECT_TRUE(CheckClasses({{.text = "a", .class_name = ""}}, false).ok());
}

}  // namespace
}  // namespace tightfit::fidelity
