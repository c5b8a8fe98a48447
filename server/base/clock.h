// The steady clock behind an interface, so that tests move time instead of sleeping.
#ifndef TIGHTFIT_SERVER_BASE_CLOCK_H_
#define TIGHTFIT_SERVER_BASE_CLOCK_H_

#include <chrono>

namespace tightfit {

class Clock {
 public:
  using time_point = std::chrono::steady_clock::time_point;
  virtual ~Clock() = default;
  virtual time_point Now() const = 0;

  // The process's real clock; never destroyed.
  static const Clock& Real();
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_CLOCK_H_
