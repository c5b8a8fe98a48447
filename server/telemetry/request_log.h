// RequestLog: one log line for each finished call.
#ifndef TIGHTFIT_SERVER_TELEMETRY_REQUEST_LOG_H_
#define TIGHTFIT_SERVER_TELEMETRY_REQUEST_LOG_H_

#include "server/base/clock.h"
#include "server/engine/rpc_observer.h"
#include "server/telemetry/connection_log.h"

namespace tightfit {

// Thread-safe.
class RequestLog final : public RpcObserver {
 public:
  // Logs. Calls about images at "info", other successful ones at "debug"; refusals for want of
  // room at "warning"; what is our fault at "error".
  void OnRequestRecord(const RequestRecord& record) override;
  // Logs refused connections.
  void OnConnections(const ConnectionCounts& counts) override;

 private:
  ConnectionLog connection_log_{&Clock::Real()};
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_TELEMETRY_REQUEST_LOG_H_
