#include "server/rpc/call_cancellation.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::chrono::system_clock::time_point kReceived{minutes(1'000'000)};

StatusCode Code(std::chrono::nanoseconds timeout, std::chrono::nanoseconds after) {
  return CancellationOf(
             kReceived,
             kReceived + std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout),
             kReceived + std::chrono::duration_cast<std::chrono::system_clock::duration>(after))
      .code();
}

TEST(CallCancellationTest, IsTheDeadlineOnceItHasPassed) {
  EXPECT_EQ(Code(seconds(10), seconds(10)), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Code(seconds(10), minutes(10)), StatusCode::kDeadlineExceeded);
}

TEST(CallCancellationTest, IsTheClientLongBefore) {
  EXPECT_EQ(Code(seconds(10), seconds(9)), StatusCode::kCancelled);
  EXPECT_EQ(Code(minutes(10), seconds(590)), StatusCode::kCancelled);
}

TEST(CallCancellationTest, IsTheDeadlineWhenTheClientsTimerFiresFirst) {
  EXPECT_EQ(Code(milliseconds(200), milliseconds(180)), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Code(minutes(10), seconds(595)), StatusCode::kDeadlineExceeded);
}

TEST(CallCancellationTest, IsTheClientWithoutADeadline) {
  EXPECT_EQ(
      CancellationOf(kReceived, std::chrono::system_clock::time_point::max(), kReceived).code(),
      StatusCode::kCancelled);
}

}  // namespace
}  // namespace tightfit
