// RpcObserver: what the gRPC services tell metrics, the access log and the drain. Free of gRPC.
#ifndef TIGHTFIT_SERVER_ENGINE_RPC_OBSERVER_H_
#define TIGHTFIT_SERVER_ENGINE_RPC_OBSERVER_H_

#include "server/base/status.h"
#include "server/engine/generation.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {

// One finished call as a log line may show it: no prompt, no seed, no address.
struct RequestRecord {
  std::string method;      // as in OnRequestStarted
  std::string model;       // as in OnRequestStarted
  std::string request_id;  // empty where the method has none, or it was refused
  std::string caller;      // the name that its token has; empty without tokens, and where refused
  Status status;           // its detail is for the operator
  std::chrono::nanoseconds duration{0};
  // Zero where the request was refused before its parameters were resolved.
  int32_t width_px = 0;
  int32_t height_px = 0;
  int32_t step_count = 0;
  int32_t image_count = 0;
};

// The connections of the listening port, since the start but for those that are open.
struct ConnectionCounts {
  int32_t open = 0;
  int64_t refused_for_limit = 0;
  int64_t refused_for_address_limit = 0;
  int64_t refused_for_descriptors = 0;

  int64_t refused() const {
    return refused_for_limit + refused_for_address_limit + refused_for_descriptors;
  }
};

// Called on gRPC's threads, the executor's thread and encoding threads, also at the same time:
// thread-safe, must return at once. All methods default to nothing.
class RpcObserver {
 public:
  virtual ~RpcObserver() = default;

  // `method`: "StreamImages", "GenerateImages", "ListModels", "GetModel", "WatchModels",
  // "GetServerInfo" or "GetCapabilities". `model`: the configured model that the call asks for;
  // "unknown" when it asks for one that is not configured; empty for methods without a model.
  // Bounded, so fit for labels.
  virtual void OnRequestStarted(const std::string& method, const std::string& model) {
    (void)method, (void)model;
  }
  // Exactly once for every OnRequestStarted. `code` is what the client was told, or kCancelled when
  // it was gone.
  virtual void OnRequestFinished(const std::string& method, const std::string& model,
                                 StatusCode code, std::chrono::nanoseconds duration) {
    (void)method, (void)model, (void)code, (void)duration;
  }
  // For the access log; right after OnRequestFinished of the same call.
  virtual void OnRequestRecord(const RequestRecord& record) { (void)record; }
  // One image was encoded. `pixels` = width x height.
  virtual void OnImage(const std::string& model, const std::string& mime_type, int64_t pixels) {
    (void)model, (void)mime_type, (void)pixels;
  }
  // `stage` is always kImageEncode; once per image. The other stages come from ExecutorObserver.
  virtual void OnStage(const std::string& model, Stage stage, std::chrono::nanoseconds duration) {
    (void)model, (void)stage, (void)duration;
  }
  // Once a second, and after connections were refused.
  virtual void OnConnections(const ConnectionCounts& counts) { (void)counts; }
};

// Tells each of `observers`, which outlive it, in their order.
class RpcObservers final : public RpcObserver {
 public:
  explicit RpcObservers(std::vector<RpcObserver*> observers) : observers_(std::move(observers)) {}

  void OnRequestStarted(const std::string& method, const std::string& model) override {
    for (RpcObserver* each : observers_) each->OnRequestStarted(method, model);
  }
  void OnRequestFinished(const std::string& method, const std::string& model, StatusCode code,
                         std::chrono::nanoseconds duration) override {
    for (RpcObserver* each : observers_) each->OnRequestFinished(method, model, code, duration);
  }
  void OnRequestRecord(const RequestRecord& record) override {
    for (RpcObserver* each : observers_) each->OnRequestRecord(record);
  }
  void OnImage(const std::string& model, const std::string& mime_type, int64_t pixels) override {
    for (RpcObserver* each : observers_) each->OnImage(model, mime_type, pixels);
  }
  void OnStage(const std::string& model, Stage stage, std::chrono::nanoseconds duration) override {
    for (RpcObserver* each : observers_) each->OnStage(model, stage, duration);
  }
  void OnConnections(const ConnectionCounts& counts) override {
    for (RpcObserver* each : observers_) each->OnConnections(counts);
  }

 private:
  const std::vector<RpcObserver*> observers_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_RPC_OBSERVER_H_
