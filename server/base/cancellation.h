// Cancellation: one flag and one deadline per request, set by the client's side (cancel, deadline,
// vanished connection, drain) and read by the executor between two calls of the model.
#ifndef TIGHTFIT_SERVER_BASE_CANCELLATION_H_
#define TIGHTFIT_SERVER_BASE_CANCELLATION_H_

#include "server/base/status.h"

#include <atomic>
#include <chrono>
#include <optional>

namespace tightfit {

// Thread-safe. The first cause wins and stays.
class Cancellation {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Cancellation(std::optional<Clock::time_point> deadline = std::nullopt)
      : deadline_(deadline) {}

  // kCancelled (client), kDeadlineExceeded or kUnavailable (drain).
  void Cancel(StatusCode cause) {
    StatusCode expected = StatusCode::kOk;
    cause_.compare_exchange_strong(expected, cause);
  }

  // OK while the request may go on at time `now`.
  StatusCode Check(Clock::time_point now) const {
    const StatusCode cause = cause_.load();
    if (cause != StatusCode::kOk) return cause;
    if (deadline_.has_value() && now >= *deadline_) return StatusCode::kDeadlineExceeded;
    return StatusCode::kOk;
  }

  std::optional<Clock::time_point> deadline() const { return deadline_; }

 private:
  const std::optional<Clock::time_point> deadline_;
  std::atomic<StatusCode> cause_{StatusCode::kOk};
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_CANCELLATION_H_
