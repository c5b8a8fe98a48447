#include "server/rpc/decode_queue.h"

#include "tests/support/gate.h"

#include <gtest/gtest.h>

#include <future>
#include <new>
#include <stdexcept>
#include <string>

namespace tightfit {
namespace {

TEST(DecodeQueueTest, RefusesWhatItHasNoPlaceFor) {
  Gate gate;
  DecodeQueue queue(2);
  const auto wait = [&gate] { gate.Pass(); };
  EXPECT_TRUE(queue.Post(wait).ok());
  ASSERT_TRUE(gate.WaitForArrivals(1));
  EXPECT_TRUE(queue.Post(wait).ok());
  const Status refused = queue.Post([] { FAIL() << "it was refused"; });
  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.reason(), "QUEUE_FULL");
  EXPECT_TRUE(refused.retry_after().has_value());
  gate.Open();
}

TEST(DecodeQueueTest, HasPlaceAgainOnceTasksHaveEnded) {
  DecodeQueue queue(1);
  for (int i = 0; i < 5; ++i) {
    std::promise<void> ran;
    while (!queue.Post([&ran] { ran.set_value(); }).ok()) {
    }
    ran.get_future().wait();
  }
}

TEST(DecodeQueueTest, OutlivesWhatATaskThrows) {
  DecodeQueue queue(1);
  ASSERT_TRUE(queue.Post([] { throw std::runtime_error("one request's"); }).ok());
  std::promise<void> ran;
  while (!queue.Post([&ran] { ran.set_value(); }).ok()) {
  }
  ran.get_future().wait();
}

TEST(ResultOrFailureTest, TellsWhatWasThrown) {
  EXPECT_TRUE(ResultOrFailure([] { return OkStatus(); }).ok());
  EXPECT_EQ(*ResultOrFailure([]() -> Result<int> { return 7; }), 7);
  const Status no_memory = ResultOrFailure([]() -> Status { throw std::bad_alloc(); });
  EXPECT_EQ(no_memory.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(no_memory.reason(), "OUT_OF_MEMORY");
  const Result<int> fault =
      ResultOrFailure([]() -> Result<int> { throw std::out_of_range("a secret of the server"); });
  EXPECT_EQ(fault.status().code(), StatusCode::kInternal);
  EXPECT_EQ(fault.status().message().find("secret"), std::string::npos);
}

}  // namespace
}  // namespace tightfit
