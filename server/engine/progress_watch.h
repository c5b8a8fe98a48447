// ProgressWatch: whether calls on the device make progress. Liveness follows them, and never the
// end of a request, which may honestly take an hour.
#ifndef TIGHTFIT_SERVER_ENGINE_PROGRESS_WATCH_H_
#define TIGHTFIT_SERVER_ENGINE_PROGRESS_WATCH_H_

#include "server/base/clock.h"

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace tightfit {

// What the executor's thread asks of a device.
enum class DeviceCall { kModelLoad, kTextEncode, kDenoise, kVaeDecode, kModelEvict, kCacheDrop };
// "model_load", "model_evict", "cache_drop"; those of a request as their stages.
std::string_view DeviceCallName(DeviceCall call);

// Thread-safe. One call at a time is under way.
class ProgressWatch {
 public:
  // How many times as long as the slowest denoising step so far, and as what was expected of it, a
  // call may take.
  static constexpr int kPatience = 10;

  // `clock` must outlive the watch. No call is overdue before `shortest_limit`; zero: never. If
  // FindOverdue was not called for longer than `longest_gap`, the process did not run meanwhile
  // (SIGSTOP, a paused container, a snapshot), and that time does not count.
  ProgressWatch(const Clock* clock, std::chrono::nanoseconds shortest_limit,
                std::chrono::nanoseconds longest_gap = std::chrono::nanoseconds::max())
      : clock_(clock), shortest_limit_(shortest_limit), longest_gap_(longest_gap) {}

  // A call for `model` starts, which takes about `expected` by its size; zero: nothing is known.
  void Begin(const std::string& model, DeviceCall what, std::chrono::nanoseconds expected = {});
  // The call has got further: it may take as long again.
  void Beat();
  // The call has come back.
  void End();

  // A call that has shown no progress for too long.
  struct OverdueCall {
    std::string model;
    DeviceCall what = DeviceCall::kModelLoad;
    std::chrono::nanoseconds since_progress{0};
  };
  // To be called regularly.
  std::optional<OverdueCall> FindOverdue();

 private:
  struct Call {
    std::string model;
    DeviceCall what;
    std::chrono::nanoseconds expected;
    Clock::time_point began_at;
    Clock::time_point progressed_at;
  };

  // Moves the call by the time in which the process did not run.
  void LeaveOutStopLocked(Clock::time_point now);

  const Clock* const clock_;
  const std::chrono::nanoseconds shortest_limit_;
  const std::chrono::nanoseconds longest_gap_;
  std::mutex mutex_;
  std::optional<Clock::time_point> looked_at_;
  std::optional<Call> call_;
  std::chrono::nanoseconds slowest_step_{0};
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_PROGRESS_WATCH_H_
