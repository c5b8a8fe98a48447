// InFlightCalls: counts the calls that have not told their client the end, for a drain to wait
// for; but for watches, which have no end of their own.
#ifndef TIGHTFIT_SERVER_APP_IN_FLIGHT_CALLS_H_
#define TIGHTFIT_SERVER_APP_IN_FLIGHT_CALLS_H_

#include "server/engine/rpc_observer.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>

namespace tightfit {

// Thread-safe.
class InFlightCalls final : public RpcObserver {
 public:
  // True when none is left before `deadline`.
  bool WaitForNone(std::chrono::steady_clock::time_point deadline);

  void OnRequestStarted(const std::string& method, const std::string& model) override;
  // The last that is heard of a call.
  void OnRequestRecord(const RequestRecord& record) override;

 private:
  std::mutex mutex_;
  std::condition_variable none_left_;
  int64_t count_ = 0;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_IN_FLIGHT_CALLS_H_
