// Whom the limit of stalled readers cuts.
#include "server/rpc/stalled_readers.h"

#include "tests/support/fake_clock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A write that began when the stream was made, and never ends.
class StalledStream final : public WatchedStream {
 public:
  explicit StalledStream(const Clock* clock) : began_at_(clock->Now()) {}
  void CancelIfStalled(Clock::time_point now, std::chrono::nanoseconds limit) override {
    if (now - began_at_ >= limit) is_cut = true;
  }
  std::atomic<bool> is_cut{false};

 private:
  const Clock::time_point began_at_;
};

// Tells when the process's time is asked for, which every look does.
class CountedClock final : public Clock {
 public:
  time_point Now() const override {
    const std::lock_guard lock(mutex_);
    ++looks_;
    looked_.notify_all();
    return clock.Now();
  }
  // Until two looks have begun since: then one of them is over.
  void WaitForALook() const {
    std::unique_lock lock(mutex_);
    const int64_t before = looks_;
    looked_.wait(lock, [&] { return looks_ >= before + 2; });
  }
  FakeClock clock;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable looked_;
  mutable int64_t looks_ = 0;
};

// A stream that stalls in a process that was stopped for a minute.
class StalledReadersTest : public testing::Test {
 protected:
  StalledReadersTest() {
    readers_.Watch(stream_);
    process_.WaitForALook();
    process_.clock.Advance(seconds(60));
    // The stop is seen before the time that it took.
    process_.WaitForALook();
  }

  bool IsCutAfter(seconds running) {
    clock_.Advance(running);
    process_.WaitForALook();
    return stream_->is_cut;
  }

 private:
  FakeClock clock_;
  CountedClock process_;
  const std::shared_ptr<StalledStream> stream_ = std::make_shared<StalledStream>(&clock_);
  StalledReaders readers_{&clock_, seconds(30), milliseconds(1), &process_};
};

TEST_F(StalledReadersTest, AStopOfTheProcessIsNoStallOfItsReaders) {
  EXPECT_FALSE(IsCutAfter(seconds(29)));
}

TEST_F(StalledReadersTest, WhoStillTakesNothingAfterAStopIsCut) {
  EXPECT_TRUE(IsCutAfter(seconds(30)));
}

}  // namespace
}  // namespace tightfit
