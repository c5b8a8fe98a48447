// RunningTime: how long the process has run, without the time in which it was stopped: SIGSTOP, a
// paused container, a snapshot of the machine. For limits that a stop must not use up.
#ifndef TIGHTFIT_SERVER_BASE_RUNNING_TIME_H_
#define TIGHTFIT_SERVER_BASE_RUNNING_TIME_H_

#include "server/base/clock.h"

#include <chrono>
#include <utility>

namespace tightfit {

// Of one thread.
class RunningTime {
 public:
  // `clock` must outlive it. If Elapsed was not called for longer than `longest_gap`, the process
  // was stopped meanwhile.
  RunningTime(const Clock* clock, std::chrono::nanoseconds longest_gap)
      : clock_(clock), longest_gap_(longest_gap), looked_at_(clock->Now()) {}

  // Since construction. To be called several times in each `longest_gap`.
  std::chrono::nanoseconds Elapsed() {
    const Clock::time_point now = clock_->Now();
    const std::chrono::nanoseconds gap = now - std::exchange(looked_at_, now);
    if (gap <= longest_gap_) elapsed_ += gap;
    return elapsed_;
  }

 private:
  const Clock* const clock_;
  const std::chrono::nanoseconds longest_gap_;
  Clock::time_point looked_at_;
  std::chrono::nanoseconds elapsed_{0};
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_RUNNING_TIME_H_
