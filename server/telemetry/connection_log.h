// ConnectionLog: says when connections are refused, at most once a minute, however many there are.
#ifndef TIGHTFIT_SERVER_TELEMETRY_CONNECTION_LOG_H_
#define TIGHTFIT_SERVER_TELEMETRY_CONNECTION_LOG_H_

#include "server/base/clock.h"
#include "server/engine/rpc_observer.h"

#include <optional>

namespace tightfit {

// Of one thread.
class ConnectionLog {
 public:
  explicit ConnectionLog(const Clock* clock) : clock_(clock) {}

  // As RpcObserver: the first refusal is logged at once, those of the minute after it together.
  void OnConnections(const ConnectionCounts& counts);

 private:
  const Clock* const clock_;
  ConnectionCounts logged_;
  std::optional<Clock::time_point> logged_at_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_TELEMETRY_CONNECTION_LOG_H_
