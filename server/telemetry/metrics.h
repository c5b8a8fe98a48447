// Metrics: every Prometheus family of the server, prefix tightfit_, base units.
//
// Events are counted as executor and services tell them. Bytes and states of models are read from
// MemoryAccounts and ModelRegistry at each scrape, so that they equal what GetModel says and no
// series outlives its model. Labels are bounded: configured models or "unknown", never anything
// that a client typed.
#ifndef TIGHTFIT_SERVER_TELEMETRY_METRICS_H_
#define TIGHTFIT_SERVER_TELEMETRY_METRICS_H_

#include "server/base/server_info.h"
#include "server/base/status.h"
#include "server/engine/device_executor.h"
#include "server/engine/generation.h"
#include "server/engine/model_registry.h"
#include "server/engine/rpc_observer.h"
#include "server/memory/device_ledger.h"

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

namespace tightfit {

// Thread-safe. `registry` must outlive it.
class Metrics final : public ExecutorObserver, public RpcObserver {
 public:
  // `info` gives version, start time, device and its memory; `ledger`, which may be null, what is
  // promised of it.
  Metrics(const ModelRegistry* registry, const ServerInfo& info,
          const DeviceLedger* ledger = nullptr);
  ~Metrics() override;

  // The page of GET /metrics, in Prometheus' text format.
  std::string Text() const;

  void OnQueueDepth(int32_t queued, int32_t running) override;
  void OnQueueWait(const std::string& model, std::chrono::nanoseconds wait) override;
  // Of both interfaces.
  void OnStage(const std::string& model, Stage stage, std::chrono::nanoseconds duration) override;
  void OnStep(const std::string& model, std::chrono::nanoseconds duration) override;
  void OnVaeFallback(const std::string& model) override;
  void OnCancelled(const std::string& model, std::string_view stage) override;
  void OnLoaded(const std::string& model, const Status& status,
                std::chrono::nanoseconds duration) override;
  void OnEvicted(const std::string& model, EvictionCause cause, const std::string& reason) override;
  void OnOutOfMemory(const std::string& model, Stage stage) override;
  void OnMemoryPeak(const std::string& model, int64_t reserved_bytes, int64_t peak_bytes) override;

  void OnRequestStarted(const std::string& method, const std::string& model) override;
  void OnRequestFinished(const std::string& method, const std::string& model, StatusCode code,
                         std::chrono::nanoseconds duration) override;
  void OnRequestRecord(const RequestRecord& record) override;
  void OnImage(const std::string& model, const std::string& mime_type, int64_t pixels) override;
  // Of one thread.
  void OnConnections(const ConnectionCounts& counts) override;

  // Files were read again. `what`: "tls" or "tokens".
  void OnReload(const char* what, bool ok);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_TELEMETRY_METRICS_H_
