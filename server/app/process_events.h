// ProcessEvents: what the main thread waits for: signals, and what other threads post.
//
// A program that links this file starts with /dev/null on those of the descriptors 0 to 2 that were
// closed, so that no file or pipe of its own is taken for a standard stream; writing to a standard
// output that was closed is an error. And once the loader has linked the libraries, before any of
// their constructors runs, it decides what signals do:
//
//   SIGTERM SIGINT SIGQUIT SIGPWR SIGXCPU   stop the server; before it serves they end the process
//   SIGHUP                                  reads certificates and tokens again; nothing before
//   SIGUSR1 SIGUSR2 SIGALRM SIGVTALRM SIGPROF SIGIO SIGSTKFLT SIGTTIN SIGTTOU, real-time signals
//                                           nothing
//   SIGPIPE SIGXFSZ                         are error codes of the write
//
// Who started the process with a signal ignored (nohup) keeps it ignored. SIGTSTP, SIGSTOP and
// SIGCONT do what they always do; SIGABRT and what the processor raises end it with a core.
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
    kTerminate,     // SIGTERM or another that stops the server
    kReload,        // SIGHUP
    kModelsLoaded,  // every configured model was tried
    kDrained,       // nothing runs any more
    kDeviceLost,    // no call on the device can succeed any more
    kTimeout,       // Wait's deadline passed
  };

  // From here on the signals that stop or reload reach the process through Wait() alone. Call
  // before any thread is made: threads inherit the mask.
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
