#include "server/telemetry/metrics_endpoint.h"

#include <httplib.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

namespace tightfit {
namespace {

// Scrapers are few; a client that holds its connection open costs one of these for a while.
constexpr size_t kThreads = 4;
constexpr time_t kTimeoutSeconds = 5;
constexpr char kTextFormat[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kPlainText[] = "text/plain; charset=utf-8";

}  // namespace

class MetricsEndpoint::Impl {
 public:
  explicit Impl(std::function<std::string()> text) : text_(std::move(text)) {
    server_.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    // The library's own default is SO_REUSEPORT, with which two servers would share a port
    // unnoticed.
    server_.set_socket_options([](int socket) {
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    });
    server_.set_read_timeout(kTimeoutSeconds);
    server_.set_write_timeout(kTimeoutSeconds);
    // A connection per scrape: none holds a thread between two.
    server_.set_keep_alive_max_count(1);
    server_.set_payload_max_length(1024);
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(text_(), kTextFormat);
    });
    server_.Get("/", [](const httplib::Request&, httplib::Response& response) {
      response.set_content("tightfit: Prometheus metrics are at /metrics\n", kPlainText);
    });
    server_.set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (response.status == 404) {
        response.set_content("Nothing here; metrics are at /metrics\n", kPlainText);
      }
    });
  }

  ~Impl() {
    if (!thread_.joinable()) return;
    server_.stop();
    thread_.join();
  }

  Status Bind(const std::string& host, uint16_t port) {
    errno = 0;
    const int bound =
        port == 0 ? server_.bind_to_any_port(host) : (server_.bind_to_port(host, port) ? port : -1);
    if (bound < 0) {
      return {StatusCode::kUnavailable, "ADDRESS_UNUSABLE",
              std::string("cannot listen there: ") +
                  (errno != 0 ? std::strerror(errno) : "no such host")};
    }
    port_ = static_cast<uint16_t>(bound);
    return OkStatus();
  }

  void Listen() {
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    // stop() does nothing on a server whose loop has not begun.
    while (!server_.is_running()) std::this_thread::yield();
  }

  uint16_t port() const { return port_; }

 private:
  const std::function<std::string()> text_;
  httplib::Server server_;
  uint16_t port_ = 0;
  std::thread thread_;
};

Result<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const std::string& host,
                                                                uint16_t port,
                                                                std::function<std::string()> text) {
  auto impl = std::make_unique<Impl>(std::move(text));
  TF_RETURN_IF_ERROR(impl->Bind(host, port));
  impl->Listen();
  return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(std::move(impl)));
}

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MetricsEndpoint::~MetricsEndpoint() = default;

uint16_t MetricsEndpoint::port() const { return impl_->port(); }

}  // namespace tightfit
