// RequestLog: one log line per finished call.
#ifndef TIGHTFIT_SERVER_TELEMETRY_REQUEST_LOG_H_
#define TIGHTFIT_SERVER_TELEMETRY_REQUEST_LOG_H_

#include "server/base/clock.h"
#include "server/rpc/rpc_observer.h"
#include "server/telemetry/connection_log.h"

#include <chrono>
#include <string>

namespace tightfit {

// Hands everything on to `next`, which must outlive it. Thread-safe.
class RequestLog final : public RpcObserver {
 public:
  explicit RequestLog(RpcObserver* next) : next_(next) {}

  void OnRequestStarted(const std::string& method, const std::string& model) override;
  void OnRequestFinished(const std::string& method, const std::string& model, StatusCode code,
                         std::chrono::nanoseconds duration) override;
  // Logs. Calls about pictures at "info", other successful ones at "debug"; refusals for want of
  // room at "warning"; what is our fault at "error".
  void OnRequestRecord(const RequestRecord& record) override;
  void OnImage(const std::string& model, const std::string& mime_type, int64_t pixels) override;
  void OnStage(const std::string& model, Stage stage, std::chrono::nanoseconds duration) override;
  // Logs refused connections.
  void OnConnections(const ConnectionCounts& counts) override;

 private:
  RpcObserver* const next_;
  ConnectionLog connection_log_{&Clock::Real()};
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_TELEMETRY_REQUEST_LOG_H_
