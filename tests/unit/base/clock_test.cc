#include "server/base/clock.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

TEST(ClockTest, RealClockIsTheSteadyClock) {
  const auto before = std::chrono::steady_clock::now();
  const auto now = Clock::Real().Now();
  const auto after = std::chrono::steady_clock::now();
  EXPECT_LE(before, now);
  EXPECT_LE(now, after);
}

}  // namespace
}  // namespace tightfit
