// ProcessEvents: what the main thread waits for: SIGTERM, SIGINT and SIGHUP, and what other threads
// post.
#ifndef TIGHTFIT_SERVER_APP_PROCESS_EVENTS_H_
#define TIGHTFIT_SERVER_APP_PROCESS_EVENTS_H_

#include "server/base/status.h"

#include <chrono>
#include <memory>
#include <optional>

namespace tightfit {

class ProcessEvents {
 public:
  enum class Event : unsigned char {
    kTerminate,     // SIGTERM or SIGINT
    kReload,        // SIGHUP
    kModelsLoaded,  // every configured model was tried
    kDrained,       // nothing runs any more
    kDeviceLost,    // no call on the device can succeed any more
    kTimeout,       // Wait's deadline passed
  };

  // From here on SIGTERM, SIGINT and SIGHUP reach the process through Wait() alone, and a closed
  // connection is an error code instead of SIGPIPE. Call before any thread is made: threads inherit
  // the mask.
  static Result<std::unique_ptr<ProcessEvents>> Open();
  ~ProcessEvents();
  ProcessEvents(const ProcessEvents&) = delete;
  ProcessEvents& operator=(const ProcessEvents&) = delete;

  // From any thread.
  void Post(Event event);
  // The next event. Of one thread.
  Event Wait(std::optional<std::chrono::steady_clock::time_point> deadline = std::nullopt);

 private:
  ProcessEvents(int signal_fd, int read_fd, int write_fd)
      : signal_fd_(signal_fd), read_fd_(read_fd), write_fd_(write_fd) {}

  const int signal_fd_;
  const int read_fd_;
  const int write_fd_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_PROCESS_EVENTS_H_
