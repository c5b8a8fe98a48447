#include "client/weights/work_progress.h"

#include "tests/support/fake_clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace tightfit::weights {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class WorkProgressTest : public ::testing::Test {
 protected:
  WorkProgress::Write Write() {
    return [this](std::string_view text) { written_ += text; };
  }
  static std::function<int()> Columns(int count) {
    return [count] { return count; };
  }

  FakeClock clock_;
  std::string written_;
};

TEST_F(WorkProgressTest, ShowsNothingForTwoSeconds) {
  WorkProgress progress(cli::ProgressMode::kLines, {}, Columns(80), Write(), clock_);
  progress.Show("measure", 0, 10, 0);
  clock_.Advance(milliseconds(1999));
  progress.Show("measure", 9, 10, 0.9);
  progress.Finish();
  EXPECT_EQ(written_, "");
}

TEST_F(WorkProgressTest, WritesALineEveryFiveSecondsIntoALog) {
  WorkProgress progress(cli::ProgressMode::kLines, {}, Columns(80), Write(), clock_);
  clock_.Advance(seconds(2));
  progress.Show("measure", 2, 10, 0.25);
  EXPECT_EQ(written_, "measure 2/10, 2.0 s, 6.0 s left\n");
  clock_.Advance(milliseconds(4900));
  progress.Show("measure", 5, 10, 0.5);
  EXPECT_EQ(written_, "measure 2/10, 2.0 s, 6.0 s left\n");
  clock_.Advance(milliseconds(3100));
  progress.Show("measure", 8, 10, 0.5);
  EXPECT_THAT(written_, HasSubstr("measure 8/10, 10 s, 10 s left\n"));
}

TEST_F(WorkProgressTest, DrawsABarOnATerminalAndTakesItAway) {
  WorkProgress progress(cli::ProgressMode::kBar, {}, Columns(60), Write(), clock_);
  clock_.Advance(seconds(3));
  progress.Show("measure", 1, 2, 0.5);
  EXPECT_THAT(written_, StartsWith("\rmeasure"));
  EXPECT_THAT(written_, HasSubstr("#####"));
  EXPECT_THAT(written_, HasSubstr("1/2"));
  progress.Finish();
  EXPECT_TRUE(written_.ends_with("\r\x1b[K"));
  const std::string before = written_;
  progress.Finish();
  EXPECT_EQ(written_, before);
}

TEST_F(WorkProgressTest, IsSilentWhenQuiet) {
  WorkProgress progress(cli::ProgressMode::kQuiet, {}, Columns(60), Write(), clock_);
  clock_.Advance(seconds(60));
  progress.Show("measure", 1, 2, 0.5);
  progress.Finish();
  EXPECT_EQ(written_, "");
}

}  // namespace
}  // namespace tightfit::weights
