#include "server/base/cancellation.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

using std::chrono::milliseconds;

TEST(CancellationTest, LetsARequestGoOnUntilSomethingHappens) {
  const Cancellation cancellation;
  EXPECT_EQ(cancellation.Check(Cancellation::Clock::time_point::max()), StatusCode::kOk);
}

TEST(CancellationTest, KeepsTheFirstCause) {
  Cancellation cancellation;
  cancellation.Cancel(StatusCode::kUnavailable);
  cancellation.Cancel(StatusCode::kCancelled);
  EXPECT_EQ(cancellation.Check({}), StatusCode::kUnavailable);
}

TEST(CancellationTest, EndsAtTheDeadlineAndNotBefore) {
  const auto deadline = Cancellation::Clock::now() + std::chrono::hours(1);
  const Cancellation cancellation(deadline);
  EXPECT_EQ(cancellation.Check(deadline - milliseconds(1)), StatusCode::kOk);
  EXPECT_EQ(cancellation.Check(deadline), StatusCode::kDeadlineExceeded);
}

TEST(CancellationTest, PrefersAnExplicitCauseToThePassedDeadline) {
  const auto deadline = Cancellation::Clock::now();
  Cancellation cancellation(deadline);
  cancellation.Cancel(StatusCode::kCancelled);
  EXPECT_EQ(cancellation.Check(deadline + milliseconds(1)), StatusCode::kCancelled);
}

}  // namespace
}  // namespace tightfit
