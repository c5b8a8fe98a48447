// FakeClock: time that stands still until a test moves it.
#ifndef TIGHTFIT_TESTS_SUPPORT_FAKE_CLOCK_H_
#define TIGHTFIT_TESTS_SUPPORT_FAKE_CLOCK_H_

#include "server/base/clock.h"

#include <atomic>
#include <chrono>

namespace tightfit {

// Thread-safe. Starts at the real time, so that deadlines computed from it stay meaningful.
class FakeClock final : public Clock {
 public:
  time_point Now() const override { return start_ + std::chrono::nanoseconds(passed_.load()); }
  void Advance(std::chrono::nanoseconds duration) { passed_ += duration.count(); }

 private:
  const time_point start_ = std::chrono::steady_clock::now();
  std::atomic<std::chrono::nanoseconds::rep> passed_{0};
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_SUPPORT_FAKE_CLOCK_H_
