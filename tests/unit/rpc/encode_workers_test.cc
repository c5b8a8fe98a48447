#include "server/rpc/encode_workers.h"

#include "tests/support/gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <new>
#include <thread>

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
  constexpr int kWaiting = 1000;
  std::atomic<int> ran{0};
  Gate gate;
  auto workers = std::make_unique<EncodeWorkers>(1);
  workers->Post([&] {
    gate.Pass();
    ++ran;
  });
  // Those that wait take a moment each: would they run, most were still to come when the end
  // begins.
  for (int i = 0; i < kWaiting; ++i) {
    workers->Post([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ++ran;
    });
  }
  ASSERT_TRUE(gate.WaitForArrivals(1));
  std::thread open_soon([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    gate.Open();
  });
  workers.reset();
  open_soon.join();
  EXPECT_GE(ran, 1) << "the task that ran is finished";
  EXPECT_LT(ran, kWaiting) << "the others are dropped";
}

TEST(EncodeWorkersTest, OutlivesATaskThatThrows) {
  EncodeWorkers workers(1);
  workers.Post([] { throw std::bad_alloc(); });
  workers.Post([] { throw 1; });
  std::promise<void> next;
  workers.Post([&] { next.set_value(); });
  EXPECT_EQ(next.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
}

}  // namespace
}  // namespace tightfit
