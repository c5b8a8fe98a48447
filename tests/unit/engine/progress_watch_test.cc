// When a call counts as hanging. Time is moved by hand.
#include "server/engine/progress_watch.h"

#include "tests/support/fake_clock.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

class ProgressWatchTest : public testing::Test {
 protected:
  void Step(std::chrono::nanoseconds duration) {
    watch_.Begin("one", DeviceCall::kDenoise);
    clock_.Advance(duration);
    watch_.End();
  }

  FakeClock clock_;
  ProgressWatch watch_{&clock_, seconds(30)};
};

TEST_F(ProgressWatchTest, IsQuietHoweverLongNothingRuns) {
  clock_.Advance(hours(24));
  EXPECT_FALSE(watch_.FindOverdue().has_value());
  Step(seconds(1));
  clock_.Advance(hours(24));
  EXPECT_FALSE(watch_.FindOverdue().has_value());
}

TEST_F(ProgressWatchTest, NamesTheCallThatPassesTheLimit) {
  watch_.Begin("one", DeviceCall::kTextEncode);
  clock_.Advance(seconds(30));
  EXPECT_FALSE(watch_.FindOverdue().has_value());
  clock_.Advance(milliseconds(1));
  const auto overdue = watch_.FindOverdue();
  ASSERT_TRUE(overdue.has_value());
  EXPECT_EQ(overdue->model, "one");
  EXPECT_EQ(overdue->what, DeviceCall::kTextEncode);
  EXPECT_EQ(overdue->since_progress, milliseconds(30'001));
}

TEST_F(ProgressWatchTest, GivesTenTimesTheSlowestStepWhereThatIsLonger) {
  Step(seconds(6));
  Step(seconds(2));
  watch_.Begin("one", DeviceCall::kVaeDecode);
  clock_.Advance(seconds(60));
  EXPECT_FALSE(watch_.FindOverdue().has_value());
  clock_.Advance(milliseconds(1));
  EXPECT_TRUE(watch_.FindOverdue().has_value());
}

TEST_F(ProgressWatchTest, LearnsFromStepsAlone) {
  watch_.Begin("one", DeviceCall::kModelLoad);
  clock_.Advance(hours(1));
  watch_.End();
  watch_.Begin("one", DeviceCall::kDenoise);
  clock_.Advance(seconds(31));
  EXPECT_TRUE(watch_.FindOverdue().has_value());
}

TEST_F(ProgressWatchTest, RaisesNoAlarmInTenThousandSlowButBeatingSteps) {
  for (int i = 0; i < 10'000; ++i) {
    watch_.Begin("one", DeviceCall::kDenoise);
    for (int look = 0; look < 3; ++look) {
      clock_.Advance(milliseconds(9'990));
      ASSERT_FALSE(watch_.FindOverdue().has_value()) << i;
    }
    watch_.End();
  }
}

TEST_F(ProgressWatchTest, LetsALoadTakeHoursWhileItBeats) {
  watch_.Begin("one", DeviceCall::kModelLoad);
  for (int i = 0; i < 1000; ++i) {
    clock_.Advance(seconds(29));
    ASSERT_FALSE(watch_.FindOverdue().has_value()) << i;
    watch_.Beat();
  }
  clock_.Advance(seconds(31));
  EXPECT_TRUE(watch_.FindOverdue().has_value()) << "it beats no more";
}

TEST_F(ProgressWatchTest, GivesTenTimesWhatIsExpectedOfACall) {
  watch_.Begin("one", DeviceCall::kDenoise, seconds(416));
  clock_.Advance(seconds(4160));
  EXPECT_FALSE(watch_.FindOverdue().has_value());
  clock_.Advance(milliseconds(1));
  EXPECT_TRUE(watch_.FindOverdue().has_value());
}

TEST_F(ProgressWatchTest, IsNeverShorterThanConfiguredHoweverSmallACallIs) {
  watch_.Begin("one", DeviceCall::kDenoise, milliseconds(1));
  clock_.Advance(seconds(30));
  EXPECT_FALSE(watch_.FindOverdue().has_value());
}

TEST_F(ProgressWatchTest, LeavesOutTheTimeInWhichTheProcessWasStopped) {
  ProgressWatch watch(&clock_, seconds(30), seconds(2));
  watch.Begin("one", DeviceCall::kDenoise);
  for (int look = 0; look < 100; ++look) {
    clock_.Advance(milliseconds(100));
    ASSERT_FALSE(watch.FindOverdue().has_value());
  }
  clock_.Advance(hours(1));
  EXPECT_FALSE(watch.FindOverdue().has_value()) << "stopped for an hour";
  for (int look = 0; look < 199; ++look) {
    clock_.Advance(milliseconds(100));
    ASSERT_FALSE(watch.FindOverdue().has_value()) << look;
  }
  clock_.Advance(milliseconds(200));
  EXPECT_TRUE(watch.FindOverdue().has_value()) << "30 s in which it could run";
}

TEST_F(ProgressWatchTest, LearnsNothingFromAStepInWhichTheProcessWasStopped) {
  ProgressWatch watch(&clock_, seconds(30), seconds(2));
  watch.Begin("one", DeviceCall::kDenoise);
  watch.FindOverdue();
  clock_.Advance(hours(1));
  watch.End();
  watch.FindOverdue();
  watch.Begin("one", DeviceCall::kDenoise);
  for (int look = 0; look < 300; ++look) {
    clock_.Advance(milliseconds(100));
    ASSERT_FALSE(watch.FindOverdue().has_value()) << look;
  }
  clock_.Advance(milliseconds(100));
  EXPECT_TRUE(watch.FindOverdue().has_value());
}

TEST_F(ProgressWatchTest, IsSwitchedOffByZero) {
  ProgressWatch off(&clock_, seconds(0));
  off.Begin("one", DeviceCall::kDenoise);
  clock_.Advance(hours(24));
  EXPECT_FALSE(off.FindOverdue().has_value());
}

}  // namespace
}  // namespace tightfit
