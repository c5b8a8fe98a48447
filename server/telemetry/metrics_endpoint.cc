#include "server/telemetry/metrics_endpoint.h"

#include "server/base/listening_sockets.h"
#include "server/telemetry/page_server.h"

#include <utility>

namespace tightfit {
namespace {

constexpr char kTextFormat[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kPlainText[] = "text/plain; charset=utf-8";

Page PageAt(const std::string& path, const std::function<std::string()>& text) {
  if (path == "/metrics") return {200, kTextFormat, text()};
  if (path == "/") return {200, kPlainText, "tightfit: Prometheus metrics are at /metrics\n"};
  return {404, kPlainText, "Nothing here; metrics are at /metrics\n"};
}

}  // namespace

class MetricsEndpoint::Impl {
 public:
  Impl(ListeningSockets sockets, std::function<std::string()> text)
      : port_(sockets.port),
        server_(std::move(sockets),
                [text = std::move(text)](const std::string& path) { return PageAt(path, text); }) {}

  uint16_t port() const { return port_; }

 private:
  const uint16_t port_;
  PageServer server_;
};

Result<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const std::string& host,
                                                                uint16_t port,
                                                                std::function<std::string()> text) {
  TF_ASSIGN_OR_RETURN(ListeningSockets sockets, ListenOnHost(host, port, AnyAddress::kIpv4Only));
  return std::unique_ptr<MetricsEndpoint>(
      new MetricsEndpoint(std::make_unique<Impl>(std::move(sockets), std::move(text))));
}

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MetricsEndpoint::~MetricsEndpoint() = default;

uint16_t MetricsEndpoint::port() const { return impl_->port(); }

}  // namespace tightfit
