#include "client/cli/measure_text.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace tightfit::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(MeasureTextTest, GivesBytesInTheUnitThatFits) {
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(1023), "1023 B");
  EXPECT_EQ(BytesText(1024), "1.0 KiB");
  EXPECT_EQ(BytesText(1'048'575), "1.0 MiB");
  EXPECT_EQ(BytesText(5'135'149'760), "4897.3 MiB");
  EXPECT_EQ(BytesText(int64_t{10'000} << 20), "9.8 GiB");
}

TEST(MeasureTextTest, GivesDurationsAsPeopleReadThem) {
  EXPECT_EQ(DurationText(milliseconds(8440)), "8.4 s");
  EXPECT_EQ(DurationText(milliseconds(9960)), "10 s");
  EXPECT_EQ(DurationText(milliseconds(59'600)), "1:00");
  EXPECT_EQ(DurationText(seconds(125)), "2:05");
  EXPECT_EQ(DurationText(seconds(3725)), "1:02:05");
  EXPECT_EQ(DurationText(seconds(-1)), "0.0 s");
}

TEST(MeasureTextTest, GivesStepTimesWithThreeDigits) {
  EXPECT_EQ(StepTimeText(milliseconds(35)), "35 ms/step");
  EXPECT_EQ(StepTimeText(milliseconds(840)), "0.84 s/step");
  EXPECT_EQ(StepTimeText(milliseconds(12'340)), "12.3 s/step");
}

TEST(MeasureTextTest, GivesSavedShares) {
  EXPECT_EQ(SavedText(512, 1024), "50.0 %");
  EXPECT_EQ(SavedText(1100, 1000), "-10.0 %");
  EXPECT_EQ(SavedText(5, 0), "-");
}

TEST(MeasureTextTest, GroupsDigits) {
  EXPECT_EQ(CountText(0), "0");
  EXPECT_EQ(CountText(999), "999");
  EXPECT_EQ(CountText(1000), "1,000");
  EXPECT_EQ(CountText(2'567'463'684), "2,567,463,684");
  EXPECT_EQ(CountText(-100), "-100");
  EXPECT_EQ(CountText(-123'456), "-123,456");
}

TEST(MeasureTextTest, NothingSavedHasNoSign) {
  EXPECT_EQ(SavedText(1001, 1000), "-0.1 %");
  EXPECT_EQ(SavedText(100'001, 100'000), "0.0 %");
  EXPECT_EQ(SavedText(100'000, 100'000), "0.0 %");
}

}  // namespace
}  // namespace tightfit::cli
