#include "server/base/parse_number.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMaxInteger = std::numeric_limits<int64_t>::max();
constexpr int64_t kMinInteger = std::numeric_limits<int64_t>::min();
constexpr double kMaxFloat = std::numeric_limits<float>::max();

TEST(ParseNumberTest, DecimalNumbersAreRead) {
  EXPECT_EQ(ParseInteger("0", 0, 5).value(), 0);
  EXPECT_EQ(ParseInteger("010", 0, 99).value(), 10);
  EXPECT_EQ(ParseInteger("-9223372036854775808", kMinInteger, kMaxInteger).value(), kMinInteger);
  EXPECT_EQ(ParseInteger("9223372036854775807", kMinInteger, kMaxInteger).value(), kMaxInteger);
  EXPECT_EQ(ParseFraction("0", 0, 5).value(), 0.0);
  EXPECT_EQ(ParseFraction(".5", 0, 5).value(), 0.5);
  EXPECT_EQ(ParseFraction("5.", 0, 5).value(), 5.0);
  EXPECT_EQ(ParseFraction("25e-1", 0, 5).value(), 2.5);
  EXPECT_EQ(ParseFraction("-1.5", -2, 5).value(), -1.5);
}

TEST(ParseNumberTest, NothingButDecimalDigitsIsANumber) {
  for (const char* text : {"", " 1", "1 ", "+1", "0x10", "1,5", "many", "-", "--1", "1e", "1_000",
                           "0x1p3", "١", "1\n"}) {
    EXPECT_THAT(ParseFraction(text, -1e9, 1e9).status().message(),
                HasSubstr("must be a number, not \""))
        << text;
    EXPECT_THAT(ParseInteger(text, kMinInteger, kMaxInteger).status().message(),
                HasSubstr("must be a whole number, not \""))
        << text;
  }
  EXPECT_FALSE(ParseInteger("1e3", kMinInteger, kMaxInteger).ok());
  EXPECT_FALSE(ParseInteger("1.0", kMinInteger, kMaxInteger).ok());
}

TEST(ParseNumberTest, WhatIsNotFiniteIsRefusedWithoutALimitToo) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const char* text : {"nan", "NaN", "-nan", "nan(1)", "inf", "-inf", "Infinity", "INF"}) {
    const Status status = ParseFraction(text, -infinity, infinity).status();
    EXPECT_FALSE(status.ok()) << text;
    EXPECT_THAT(status.message(), HasSubstr(text));
  }
  for (const char* text : {"1e400", "-1e400", "1e-400", "1e99999999999"}) {
    EXPECT_THAT(ParseFraction(text, -infinity, infinity).status().message(), HasSubstr("too large"))
        << text;
  }
}

TEST(ParseNumberTest, NegativeZeroIsRefused) {
  for (const char* text : {"-0", "-0.0", "-0e5", "-.0", "-00"}) {
    EXPECT_THAT(ParseFraction(text, -1, 1).status().message(), HasSubstr("negative zero")) << text;
  }
  EXPECT_THAT(ParseInteger("-0", -1, 1).status().message(), HasSubstr("negative zero"));
  EXPECT_THAT(CheckFraction(-0.0, -1, 1).message(), HasSubstr("negative zero"));
}

TEST(ParseNumberTest, LimitsBelongToTheRangeAndAreTold) {
  EXPECT_TRUE(ParseInteger("1", 1, 5).ok());
  EXPECT_TRUE(ParseInteger("5", 1, 5).ok());
  EXPECT_EQ(ParseInteger("6", 1, 5).status().message(), "must be from 1 to 5, not 6");
  EXPECT_EQ(ParseInteger("0", 1, kMaxInteger).status().message(), "must be 1 or more, not 0");
  EXPECT_EQ(ParseInteger("9223372036854775808", kMinInteger, kMaxInteger).status().message(),
            "9223372036854775808 is too large");
  EXPECT_EQ(ParseInteger("-9223372036854775809", kMinInteger, kMaxInteger).status().message(),
            "-9223372036854775809 is too small");
  EXPECT_TRUE(ParseFraction("0.001", 0.001, 2).ok());
  EXPECT_TRUE(ParseFraction("2", 0.001, 2).ok());
  EXPECT_EQ(ParseFraction("2.5", 0.001, 2).status().message(), "must be from 0.001 to 2, not 2.5");
  EXPECT_EQ(ParseFraction("1e39", -kMaxFloat, kMaxFloat).status().message(), "1e+39 is too large");
}

TEST(ParseNumberTest, MessagesAreOneShortLine) {
  const std::string message =
      ParseInteger("1\x1b[2J\n" + std::string(5000, 'x'), 0, 1).status().message();
  EXPECT_LT(message.size(), 100u);
  EXPECT_EQ(message.find('\n'), message.npos);
  EXPECT_EQ(message.find('\x1b'), message.npos);
}

}  // namespace
}  // namespace tightfit
