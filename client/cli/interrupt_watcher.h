// Ctrl-C and every other signal that people send and that would end the process: the first one asks
// the running call to stop, the second one ends the process at once. Neither leaves temporary
// files.
#ifndef TIGHTFIT_CLIENT_CLI_INTERRUPT_WATCHER_H_
#define TIGHTFIT_CLIENT_CLI_INTERRUPT_WATCHER_H_

#include <atomic>
#include <stop_token>
#include <thread>

namespace tightfit::cli {

// Watches SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and their kin, each unless the parent process
// had it ignored. Create it on the main thread before any other thread: it blocks the signals for
// all of them.
class InterruptWatcher {
 public:
  InterruptWatcher();
  ~InterruptWatcher();
  InterruptWatcher(const InterruptWatcher&) = delete;
  InterruptWatcher& operator=(const InterruptWatcher&) = delete;

  std::stop_token token() const { return source_.get_token(); }
  // The signal that came first; 0 if none did.
  int signal() const { return signal_; }

 private:
  void Watch();

  std::stop_source source_;
  std::atomic<int> signal_{0};
  int signals_ = -1;  // signalfd
  int quit_ = -1;     // eventfd
  std::thread thread_;
};

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_INTERRUPT_WATCHER_H_
