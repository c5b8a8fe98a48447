// SelfCheck: asks the server's own port again and again, and tells when it does not answer.
#ifndef TIGHTFIT_SERVER_APP_SELF_CHECK_H_
#define TIGHTFIT_SERVER_APP_SELF_CHECK_H_

#include "server/base/status.h"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace tightfit {

// OK where the port answered; returns within about the time given.
using AskOwnPort = std::function<Status(std::chrono::milliseconds)>;

// Owns a thread, which calls `ask`, as long as an answer may take and a little longer.
class SelfCheck {
 public:
  // `limit`: how long the port may answer nothing.
  SelfCheck(AskOwnPort ask, std::chrono::milliseconds limit);
  // Waits for the call that is made.
  ~SelfCheck();
  SelfCheck(const SelfCheck&) = delete;
  SelfCheck& operator=(const SelfCheck&) = delete;

  // To be called several times a second, of one thread. True once nothing was answered for the
  // limit. Time in which the caller itself did not run, as in a process that was stopped, does not
  // count.
  bool IsOverdue();
  // Why the last call failed.
  std::string last_failure() const;

 private:
  void Run();

  const AskOwnPort ask_;
  const std::chrono::milliseconds limit_;
  // Of the caller of IsOverdue.
  std::chrono::steady_clock::time_point looked_at_;
  std::chrono::nanoseconds unanswered_{0};

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  bool was_answered_ = true;  // since the last look
  std::string last_failure_;
  std::thread thread_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_SELF_CHECK_H_
