#include "server/base/running_time.h"

#include "tests/support/fake_clock.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(RunningTimeTest, CountsWhatPassesBetweenLooks) {
  FakeClock clock;
  RunningTime running(&clock, seconds(2));
  EXPECT_EQ(running.Elapsed(), milliseconds(0));
  for (int look = 1; look <= 50; ++look) {
    clock.Advance(milliseconds(100));
    EXPECT_EQ(running.Elapsed(), milliseconds(100) * look);
  }
  clock.Advance(seconds(2));
  EXPECT_EQ(running.Elapsed(), seconds(7));
}

TEST(RunningTimeTest, LeavesOutStopsHoweverManyAndLong) {
  FakeClock clock;
  RunningTime running(&clock, seconds(2));
  for (int stop = 1; stop <= 3; ++stop) {
    clock.Advance(milliseconds(100));
    EXPECT_EQ(running.Elapsed(), milliseconds(100) * stop);
    clock.Advance(stop == 2 ? hours(24 * 365) : seconds(2) + milliseconds(1));
    EXPECT_EQ(running.Elapsed(), milliseconds(100) * stop);
  }
}

}  // namespace
}  // namespace tightfit
