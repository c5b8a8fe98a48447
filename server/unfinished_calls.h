// UnfinishedCalls: counts the calls that have not told their client the end, for a drain to wait
// on; but for watches, which have no end of their own.
#ifndef TIGHTFIT_SERVER_UNFINISHED_CALLS_H_
#define TIGHTFIT_SERVER_UNFINISHED_CALLS_H_

#include "server/rpc/rpc_observer.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>

namespace tightfit {

// Hands everything on to `next`, which must outlive it. Thread-safe.
class UnfinishedCalls final : public RpcObserver {
 public:
  explicit UnfinishedCalls(RpcObserver* next) : next_(next) {}

  // True when none is left before `deadline`.
  bool WaitForNone(std::chrono::steady_clock::time_point deadline);

  void OnRequestStarted(const std::string& method, const std::string& model) override;
  void OnRequestFinished(const std::string& method, const std::string& model, StatusCode code,
                         std::chrono::nanoseconds duration) override;
  // The last that is heard of a call.
  void OnRequestRecord(const RequestRecord& record) override;
  void OnImage(const std::string& model, const std::string& mime_type, int64_t pixels) override;
  void OnStage(const std::string& model, Stage stage, std::chrono::nanoseconds duration) override;
  void OnConnections(const ConnectionCounts& counts) override;

 private:
  RpcObserver* const next_;
  std::mutex mutex_;
  std::condition_variable none_left_;
  int64_t count_ = 0;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_UNFINISHED_CALLS_H_
