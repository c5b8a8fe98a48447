// RunningServer: the objects of a server that serves, from its first address to its last log line.
// Made by RunServer (serve.h) on the main thread, which Run keeps; it never destroys what a hanging
// device may still use, but ends the process. How it begins is in running_server.cc, how it ends in
// shutdown.cc.
#ifndef TIGHTFIT_SERVER_APP_RUNNING_SERVER_H_
#define TIGHTFIT_SERVER_APP_RUNNING_SERVER_H_

#include "server/app/address_file.h"
#include "server/app/credential_watch.h"
#include "server/app/in_flight_calls.h"
#include "server/app/model_backend.h"
#include "server/app/process_events.h"
#include "server/app/self_check.h"
#include "server/app/serve.h"
#include "server/base/openmp_waiting.h"
#include "server/base/server_info.h"
#include "server/config/compute_threads.h"
#include "server/config/config.h"
#include "server/config/config_security.h"
#include "server/engine/device_executor.h"
#include "server/engine/model_registry.h"
#include "server/engine/progress_watch.h"
#include "server/engine/rpc_observer.h"
#include "server/engine/watched_device.h"
#include "server/memory/device_ledger.h"
#include "server/rpc/grpc_server.h"
#include "server/telemetry/load_log.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/metrics_endpoint.h"
#include "server/telemetry/request_log.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

namespace tightfit {

// How often signals, the progress of calls and the own port are looked at.
inline constexpr std::chrono::milliseconds kWatchInterval{100};
// Looked at less often than this, the process was stopped.
inline constexpr std::chrono::milliseconds kLongestWatchGap{2000};

// How long the last lines of the log may take: a pipe that nobody reads does not hold up the end.
inline constexpr std::chrono::milliseconds kLogHandOver{500};

// Before there is a log: "tightfit-server: LINE" to standard error.
void PrintError(const std::string& line);

// How many threads compute, and why.
ComputeThreads ThreadsOf(const ServerConfig& config);

// Ends the process without destroying anything, once the log is written.
[[noreturn]] void EndNow(int code);

// The objects in order of construction; they are destroyed last to first.
class RunningServer {
 public:
  RunningServer(const ServerConfig& config, ServerSecurity security, BackendDevice device,
                const BackendFactory& backends, ModelBackend* backend,
                const ServeOverrides& overrides, int64_t memory_limit_bytes, ProcessEvents* events);
  // Serves until the end; the exit code.
  int Run();

 private:
  // Both addresses before any model: what is wrong with them shows at once.
  Status Listen();
  Status ListenForMetrics();
  void WatchCredentials();
  void StartSelfCheck();
  static Status CannotListen(const char* setting, const std::string& address, const Status& status);
  void LogListening() const;
  // On the executor's thread, before it computes.
  void InitThread(ModelBackend* backend);
  // On the executor's thread.
  void OnDeviceLost(const Status& loss);
  // The next event; kTimeout after `patience`. Ends the process where a call of a model hangs
  // meanwhile, or the port is silent.
  ProcessEvents::Event NextEvent(std::chrono::milliseconds patience);
  [[noreturn]] void EndOnHang(const ProgressWatch::OverdueCall& call);
  [[noreturn]] void EndOnSilence();
  [[noreturn]] void EndAfterNotice();
  // True when the server has to stop, false when no model can be served.
  bool WaitForEnd();
  // For whoever reads the log: a command line that draws the first image.
  std::string CommandToTry() const;
  bool AnnounceReady();
  // shutdown.cc
  int Stop();
  // On a thread of its own: waits for requests, then for their clients.
  void Drain();
  // Cancels requests once the process has run for `limit`, or at a second signal, and ends the
  // process when a call of a model does not come back then.
  void WaitUntilDrained(std::chrono::milliseconds limit);
  [[noreturn]] void EndOnStuckModel();
  void CancelAll();
  void RemoveAddressFile() const;

  const ServerConfig config_;
  const ServeOverrides overrides_;
  const ServerSecurity security_;
  const BackendDevice device_;
  const ServerInfo info_;
  ProcessEvents* const events_;
  ModelRegistry registry_;
  DeviceLedger ledger_;
  LoadLog load_log_;
  Metrics metrics_;
  RequestLog request_log_;
  InFlightCalls in_flight_calls_;
  RpcObservers observers_;
  ProgressWatch progress_;
  const WatchedDevice watched_;
  std::unique_ptr<OpenMpWaiting> openmp_waiting_;  // made by the executor's thread
  DeviceExecutor executor_;
  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<MetricsEndpoint> endpoint_;
  std::string metrics_address_;
  std::unique_ptr<AddressFile> address_file_;
  std::unique_ptr<CredentialWatch> credential_watch_;
  std::unique_ptr<SelfCheck> self_check_;
  bool models_loaded_ = false;
  bool is_stopping_ = false;
  std::atomic<bool> device_lost_{false};
  std::atomic<bool> requests_were_cut_{false};
  std::thread canceller_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_RUNNING_SERVER_H_
