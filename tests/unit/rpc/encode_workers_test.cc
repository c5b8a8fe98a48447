#include "server/rpc/encode_workers.h"

#include "tests/support/gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace tightfit {
namespace {

TEST(EncodeWorkersTest, RunsTasksInOrderOnAnotherThread) {
  EncodeWorkers workers(1);
  std::vector<int> order;
  std::promise<std::thread::id> last;
  for (int i = 0; i < 10; ++i) workers.Post([&order, i] { order.push_back(i); });
  workers.Post([&] { last.set_value(std::this_thread::get_id()); });
  EXPECT_NE(last.get_future().get(), std::this_thread::get_id());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(order[i], i);
}

TEST(EncodeWorkersTest, RunsAsManyTasksAtOnceAsItHasThreads) {
  Gate gate;
  EncodeWorkers workers(2);
  for (int i = 0; i < 2; ++i) workers.Post([&] { gate.Pass(); });
  EXPECT_TRUE(gate.WaitForArrivals(2));
  gate.Open();
}

TEST(EncodeWorkersTest, DropsWaitingTasksAtItsEnd) {
  std::atomic<int> ran{0};
  Gate gate;
  auto workers = std::make_unique<EncodeWorkers>(1);
  workers->Post([&] {
    gate.Pass();
    ++ran;
  });
  workers->Post([&] { ++ran; });
  ASSERT_TRUE(gate.WaitForArrivals(1));
  std::thread destroy([&] { workers.reset(); });
  gate.Open();
  destroy.join();
  EXPECT_GE(ran, 1) << "the task that ran is finished";
}

}  // namespace
}  // namespace tightfit
