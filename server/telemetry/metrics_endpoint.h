// MetricsEndpoint: GET /metrics over HTTP, for Prometheus.
//
// With prometheus-cpp's serialiser; its own Exposer cannot start threads in a process that links
// libtorch_cuda, and cpp-httplib's server gives a thread to each silent connection.
#ifndef TIGHTFIT_SERVER_TELEMETRY_METRICS_ENDPOINT_H_
#define TIGHTFIT_SERVER_TELEMETRY_METRICS_ENDPOINT_H_

#include "server/base/status.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace tightfit {

// Serves from Start until destroyed.
class MetricsEndpoint {
 public:
  // Binds and listens on `host` (a name or an address without brackets); port 0: any free one.
  // `text` gives the page; called on the endpoint's thread. UNAVAILABLE
  // `ADDRESS_UNUSABLE` where the address cannot be bound.
  static Result<std::unique_ptr<MetricsEndpoint>> Start(const std::string& host, uint16_t port,
                                                        std::function<std::string()> text);
  // Stops accepting, finishes what is being answered and joins.
  ~MetricsEndpoint();

  // The chosen one.
  uint16_t port() const;

 private:
  class Impl;
  explicit MetricsEndpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_TELEMETRY_METRICS_ENDPOINT_H_
