// Gate: stops the threads that pass it until a test lets them through, one by one or for good.
#ifndef TIGHTFIT_TESTS_SUPPORT_GATE_H_
#define TIGHTFIT_TESTS_SUPPORT_GATE_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace tightfit {

// Thread-safe. Waits give up after a minute, so that a broken test fails instead of hanging.
class Gate {
 public:
  // On the thread under test: arrives and waits for leave. True unless it gave up.
  bool Pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    const int ticket = arrived_;
    return changed_.wait_for(lock, kPatience, [&] { return open_ || ticket <= leaves_; });
  }

  // On the test's thread: waits until `count` threads have arrived in all. True unless it gave up.
  bool WaitForArrivals(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return arrived_ >= count; });
  }

  // Lets the next `count` arrivals through.
  void Let(int count = 1) {
    const std::lock_guard lock(mutex_);
    leaves_ += count;
    changed_.notify_all();
  }

  // Lets everything through from now on.
  void Open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  static constexpr std::chrono::seconds kPatience{60};
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0;
  int leaves_ = 0;
  bool open_ = false;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_SUPPORT_GATE_H_
