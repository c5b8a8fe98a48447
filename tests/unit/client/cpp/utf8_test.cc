#include "client/cpp/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace tightfit::client {
namespace {

// The encoder of RFC 3629 section 3, the other way round from the code under test.
std::string Encode(uint32_t code_point) {
  const auto byte = [](uint32_t value) { return static_cast<char>(value); };
  if (code_point < 0x80) return {byte(code_point)};
  if (code_point < 0x800) {
    return {byte(0xC0 | code_point >> 6), byte(0x80 | (code_point & 0x3F))};
  }
  if (code_point < 0x10000) {
    return {byte(0xE0 | code_point >> 12), byte(0x80 | (code_point >> 6 & 0x3F)),
            byte(0x80 | (code_point & 0x3F))};
  }
  return {byte(0xF0 | code_point >> 18), byte(0x80 | (code_point >> 12 & 0x3F)),
          byte(0x80 | (code_point >> 6 & 0x3F)), byte(0x80 | (code_point & 0x3F))};
}

TEST(Utf8Test, AcceptsEveryScalarValueAndNoSurrogate) {
  for (uint32_t code_point = 0; code_point < 0x110000; ++code_point) {
    const bool is_surrogate = code_point >= 0xD800 && code_point < 0xE000;
    ASSERT_EQ(IsUtf8(Encode(code_point)), !is_surrogate) << std::hex << code_point;
  }
}

TEST(Utf8Test, RejectsValuesAboveTheUnicodeRange) {
  EXPECT_FALSE(IsUtf8(Encode(0x110000)));
  EXPECT_FALSE(IsUtf8("\xF5\x80\x80\x80"));
}

TEST(Utf8Test, RejectsOverlongForms) {
  EXPECT_FALSE(IsUtf8("\xC0\x80"));
  EXPECT_FALSE(IsUtf8("\xC1\xBF"));
  EXPECT_FALSE(IsUtf8("\xE0\x9F\xBF"));
  EXPECT_FALSE(IsUtf8("\xF0\x8F\xBF\xBF"));
}

TEST(Utf8Test, RejectsCutAndStrayBytes) {
  EXPECT_FALSE(IsUtf8("apple\x80"));
  EXPECT_FALSE(IsUtf8("apple\xE2\x82"));
  EXPECT_FALSE(
      IsUtf8("\xE2\x82"
             "apple"));
  EXPECT_FALSE(IsUtf8("caf\xE9"));  // Latin-1
}

TEST(Utf8Test, AcceptsTheEmptyText) { EXPECT_TRUE(IsUtf8("")); }

}  // namespace
}  // namespace tightfit::client
