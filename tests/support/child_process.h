// ChildProcess: a program under test, run and ended.
#ifndef TIGHTFIT_TESTS_SUPPORT_CHILD_PROCESS_H_
#define TIGHTFIT_TESTS_SUPPORT_CHILD_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace tightfit {

// Killed by the destructor if it still runs.
class ChildProcess {
 public:
  // Runs arguments[0] with this process's environment and `environment` over it. nullptr where it
  // cannot be started.
  static std::unique_ptr<ChildProcess> Start(const std::vector<std::string>& arguments,
                                             const std::map<std::string, std::string>& environment);
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  void Signal(int signal) const;
  bool has_exited() const;
  // The exit code, or minus the signal that ended it; nullopt when it still runs after `limit`.
  std::optional<int> WaitForExit(std::chrono::milliseconds limit);

  // What it has written so far.
  std::string standard_output() const;
  std::string standard_error() const;

 private:
  ChildProcess(pid_t pid, std::string directory);

  const pid_t pid_;
  const std::string directory_;  // holds its outputs; removed at the end
  mutable std::mutex mutex_;
  std::condition_variable exited_;
  std::optional<int> code_;
  std::thread waiter_;
};

// Runs to the end and returns the exit code; -1000 when it does not end within 30 s.
struct ChildOutcome {
  int code = -1000;
  std::string standard_output;
  std::string standard_error;
};
ChildOutcome RunChild(const std::vector<std::string>& arguments,
                      const std::map<std::string, std::string>& environment = {});

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_SUPPORT_CHILD_PROCESS_H_
