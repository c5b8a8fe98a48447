#include "server/pipeline/clip_unicode.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

TEST(ClipUnicodeTest, ComposesBeforeItLowers) {
  EXPECT_EQ(NormalizeForClip("CAFE\u0301"), "caf\u00E9");
  EXPECT_EQ(NormalizeForClip("\u212B"), "\u00E5");
}

TEST(ClipUnicodeTest, LowersEachCharacterWithoutContext) {
  EXPECT_EQ(NormalizeForClip("\u039F\u03A3"), "\u03BF\u03C3");  // no final sigma
  EXPECT_EQ(NormalizeForClip("\u0130I\u0131"), "i\u0307i\u0131");
  EXPECT_EQ(NormalizeForClip("\u1E9E\uFB01"), "\u00DF\uFB01");
}

TEST(ClipUnicodeTest, JoinsWhiteSpaceOfAnyKindIntoOneSpace) {
  EXPECT_EQ(NormalizeForClip("\ta\u00A0\u3000\r\nb\u2029"), " a b ");
  EXPECT_EQ(NormalizeForClip("a\u200Bb\u180Ec"), "a\u200Bb\u180Ec");
}

TEST(ClipUnicodeTest, ReplacesEachMaximalIllFormedPart) {
  EXPECT_EQ(NormalizeForClip("a\xFF\xE2\x82z"), "a\uFFFD\uFFFDz");
  EXPECT_EQ(NormalizeForClip("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
}

TEST(ClipUnicodeTest, KeepsNul) {
  EXPECT_EQ(NormalizeForClip(std::string_view("a\0B", 3)), std::string("a\0b", 3));
}

TEST(ClipUnicodeTest, KnowsTheLettersOfUnicode16AndNoYounger) {
  EXPECT_TRUE(IsLetter(0x1C89));
  EXPECT_TRUE(IsLetter(0x2EE5D));
  EXPECT_FALSE(IsLetter(0x2EE5E));
  EXPECT_FALSE(IsLetter(0xA7CE));  // Unicode 17
  EXPECT_TRUE(IsNumber(0x10D40));
  EXPECT_FALSE(IsNumber(0x10D4A));
}

TEST(ClipUnicodeTest, LowersTheLettersOfUnicode17) {
  EXPECT_EQ(NormalizeForClip("\uA7CE\uA7CB"), "\uA7CF\u0264");
  EXPECT_EQ(NormalizeForClip("\U00016EB8\U00016EB9"), "\U00016ED3\U00016EB9");
}

TEST(ClipUnicodeTest, DoesNotReorderMarksYoungerThanUnicode9) {
  EXPECT_EQ(NormalizeForClip("a\u0301\u0323"), "\u1EA1\u0301");
  EXPECT_EQ(NormalizeForClip("a\u0898\u0323"), "a\u0898\u0323");
}

}  // namespace
}  // namespace tightfit
