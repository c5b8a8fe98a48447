#include "server/app/serve.h"

#include "server/app/address_file.h"
#include "server/app/build_version.h"
#include "server/app/credential_watch.h"
#include "server/app/device_binding.h"
#include "server/app/heap_trimmer.h"
#include "server/app/in_flight_calls.h"
#include "server/app/process_events.h"
#include "server/app/self_check.h"
#include "server/app/token_command.h"
#include "server/base/clock.h"
#include "server/base/connection_limits.h"
#include "server/base/cpu_share.h"
#include "server/base/device_loss.h"
#include "server/base/listen_address.h"
#include "server/base/openmp_waiting.h"
#include "server/base/running_time.h"
#include "server/config/command_line.h"
#include "server/config/compute_threads.h"
#include "server/config/config_security.h"
#include "server/engine/device_executor.h"
#include "server/engine/model_registry.h"
#include "server/engine/never_served.h"
#include "server/engine/progress_watch.h"
#include "server/engine/watched_device.h"
#include "server/memory/device_ledger.h"
#include "server/rpc/grpc_server.h"
#include "server/telemetry/load_log.h"
#include "server/telemetry/logging.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/metrics_endpoint.h"
#include "server/telemetry/request_log.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Event = ProcessEvents::Event;

// How long a cancelled request has to leave the call of its model that it is in.
constexpr milliseconds kCancelGrace{2000};
// How long the end of the last requests may take to reach their clients.
constexpr milliseconds kHandOver{3000};
constexpr milliseconds kLastMoment{100};
// How often the progress of calls is looked at, and how long NOT_SERVING can be seen before the
// process ends on a call that hangs.
constexpr milliseconds kWatchInterval{100};
constexpr milliseconds kHangNotice{1000};
// Looked at less often than this, the process was stopped.
constexpr milliseconds kLongestWatchGap{2000};
constexpr std::chrono::hours kNoLimit{24 * 365};
// How long the last lines of the log may take: a pipe that nobody reads does not hold up the end.
constexpr milliseconds kLogHandOver{500};

void PrintError(const std::string& line) {
  std::fprintf(stderr, "tightfit-server: %s\n", line.c_str());
}

// Ends the process without destroying anything, once the log is written.
[[noreturn]] void EndNow(int code) {
  FlushLog(kLogHandOver);
  _exit(code);
}

// Whether the time of the processors is limited, and not only their number.
bool HasQuota() {
  const CpuShare share = ReadCpuShare();
  return share.quota_cpus.has_value() && *share.quota_cpus < share.cpu_count;
}

// How many threads compute; the log tells that, and how they wait for each other.
int32_t ChooseThreads(const ServerConfig& config) {
  const ComputeThreads threads =
      ChooseComputeThreads(config.threads, std::getenv("OMP_NUM_THREADS"), ReadCpuShare());
  const std::string users_waiting = UsersOpenMpWaiting();
  Log(LogLevel::kInfo, "computing threads",
      {{"threads", int64_t{threads.count}},
       {"threads_by", threads.chosen_by},
       {"waiting", !users_waiting.empty() ? users_waiting
                   : HasQuota()           ? "sleep"
                                          : "by contention"},
       {"waiting_by", users_waiting.empty() ? "server" : "environment"}});
  return threads.count;
}

Result<BackendDevice> OpenDevice(const ServerConfig& config, const BackendFactory& backends) {
  if (backends.open_device) return backends.open_device(config.device);
  if (config.device == "auto" || config.device == "cpu") return BackendDevice();
  return BadConfiguration(config.device +
                          " is not available: this server computes on the CPU only; use device = "
                          "\"cpu\" or \"auto\"");
}

// Raises what the process may open, and says how many connections that holds.
Status SetConnectionLimits(Limits* limits) {
  TF_ASSIGN_OR_RETURN(
      const ConnectionLimits resolved,
      ResolveConnectionLimits({limits->max_connections, limits->max_connections_per_address},
                              RaiseDescriptorLimit()));
  limits->max_connections = resolved.max_connections;
  limits->max_connections_per_address = resolved.max_connections_per_address;
  return OkStatus();
}

// The objects of a running server, in order of construction. Members are destroyed last to first.
class RunningServer {
 public:
  RunningServer(const ServerConfig& config, ServerSecurity security, BackendDevice device,
                const BackendFactory& backends, ModelBackend* backend,
                const ServeOverrides& overrides, int64_t memory_limit_bytes, ProcessEvents* events)
      : config_(config),
        overrides_(overrides),
        security_(std::move(security)),
        device_(std::move(device)),
        info_(MakeServerInfo(device_, backends.libtorch_version)),
        events_(events),
        registry_(config.models),
        ledger_(memory_limit_bytes),
        load_log_(&Clock::Real()),
        metrics_(&registry_, info_, &ledger_),
        observers_({&metrics_, &request_log_, &in_flight_calls_}),
        progress_(&Clock::Real(), WatchdogOf(config, device_), kLongestWatchGap),
        watched_(&progress_, device_.probe, [this](const Status& loss) { OnDeviceLost(loss); }),
        executor_(&registry_,
                  watched_.Loader([backend](const ModelSpec& spec, const LoadCallback& progress) {
                    return backend->Load(spec, progress);
                  }),
                  {.max_queued_requests = config.limits.max_queued_requests,
                   .max_running_requests = config.max_running_requests,
                   .thread_init = [this, backend] { InitThread(backend); },
                   .thread_exit = [backend] { backend->ExitThread(); },
                   .describe = DescriberOn(device_.name, backends),
                   .ledger = &ledger_,
                   .drop_caches = watched_.CacheDrop([backend] { backend->DropCaches(); })},
                  &Clock::Real(), &metrics_) {
    registry_.OnChange([this](const ModelSnapshot& model) { load_log_.OnChange(model); });
    registry_.OnProgress([this](const ModelSnapshot& model) { load_log_.OnChange(model); });
  }

  int Run() {
    if (const Status status = Listen(); !status.ok()) {
      PrintError(status.ForLog());
      return kExitConfiguration;
    }
    LogListening();
    WatchCredentials();
    StartSelfCheck();
    executor_.Start([this] { events_->Post(Event::kModelsLoaded); });
    const int code = WaitForEnd() ? Stop() : kExitConfiguration;
    RemoveAddressFile();
    Log(LogLevel::kInfo, "stopped", {{"exit_code", int64_t{code}}});
    // Nobody waits for a load to end that nobody will use, and taking models off a lost device may
    // fail in any way.
    if (!models_loaded_ || device_lost_) EndNow(code);
    return code;
  }

 private:
  // Both addresses before any model: what is wrong with them shows at once.
  Status Listen() {
    GrpcServerOptions options = {config_.listen, config_.limits};
    options.tls = security_.tls;
    options.access = security_.access;
    Result<std::unique_ptr<GrpcServer>> server =
        GrpcServer::Start(options, {&executor_, &registry_, &Clock::Real(), &observers_}, info_);
    if (!server.ok()) return CannotListen("listen", config_.listen, server.status());
    grpc_ = std::move(server).value();
    if (config_.HasMetricsEndpoint()) TF_RETURN_IF_ERROR(ListenForMetrics());
    if (config_.address_file.empty()) return OkStatus();
    TF_ASSIGN_OR_RETURN(address_file_, AddressFile::Write(config_.address_file, grpc_->address(),
                                                          metrics_address_));
    return OkStatus();
  }

  Status ListenForMetrics() {
    TF_ASSIGN_OR_RETURN(ListenAddress address, ParseListenAddress(config_.metrics_listen));
    Result<std::unique_ptr<MetricsEndpoint>> endpoint =
        MetricsEndpoint::Start(address.host, address.port, [this] { return metrics_.Text(); });
    if (!endpoint.ok()) {
      return CannotListen("metrics_listen", config_.metrics_listen, endpoint.status());
    }
    endpoint_ = std::move(endpoint).value();
    address.port = endpoint_->port();
    metrics_address_ = address.ToString();
    return OkStatus();
  }

  void WatchCredentials() {
    CredentialWatchOptions options;
    options.access = security_.access;
    if (security_.tls.has_value()) {
      options.replace_tls = [this](TlsIdentity identity) {
        grpc_->ReplaceTls(std::move(identity));
      };
    }
    options.on_reload = [this](const char* what, const Status& status) {
      metrics_.OnReload(what, status.ok());
      if (status.ok()) {
        Log(LogLevel::kInfo, "credentials were read again", {{"what", what}});
      } else {
        Log(LogLevel::kError, "changed credentials cannot be used; those from before stay",
            {{"what", what}, {"error", status.ForLog()}});
      }
    };
    credential_watch_ = std::make_unique<CredentialWatch>(config_, std::move(options));
  }

  void StartSelfCheck() {
    if (config_.self_check.count() == 0) return;
    AskOwnPort ask = [this](milliseconds patience) { return grpc_->AskOwnPort(patience); };
    if (overrides_.ask_own_port) {
      ask = [ask, override = overrides_.ask_own_port](milliseconds patience) {
        return override(patience, ask);
      };
    }
    self_check_ = std::make_unique<SelfCheck>(std::move(ask), config_.self_check);
  }

  static Status CannotListen(const char* setting, const std::string& address,
                             const Status& status) {
    return BadConfiguration(std::string(setting) + ": " + address + ": " + status.ForLog());
  }

  void LogListening() const {
    Log(LogLevel::kInfo, "listening",
        {{"listen", grpc_->address()},
         {"metrics_listen", metrics_address_},
         {"version", info_.version},
         {"commit", info_.build_commit},
         {"transport", security_.tls.has_value() ? "tls" : "plaintext"},
         {"client_certificates", security_.tls.has_value() && !security_.tls->client_ca.empty()},
         {"tokens", security_.access.has_tokens()},
         {"device", device_.name},
         {"device_description", info_.device_description},
         {"memory_limit_bytes", ledger_.limit_bytes()},
         {"model_count", static_cast<int64_t>(config_.models.size())}});
    Log(LogLevel::kInfo, "room for connections",
        {{"max_connections", int64_t{config_.limits.max_connections}},
         {"max_connections_per_address", int64_t{config_.limits.max_connections_per_address}},
         {"max_descriptors", RaiseDescriptorLimit()}});
    if (!device_.note.empty()) {
      Log(LogLevel::kInfo, "computing on the CPU", {{"why", device_.note}});
    }
    for (const std::string& warning : security_.warnings) Log(LogLevel::kWarning, warning);
    const Result<ListenAddress> metrics = ParseListenAddress(config_.metrics_listen);
    if (!metrics.ok() || metrics->is_local()) return;
    Log(LogLevel::kWarning,
        "metrics can be read from other machines; they are served without TLS and authentication",
        {{"address", config_.metrics_listen}});
  }

  // On the executor's thread, before it computes.
  void InitThread(ModelBackend* backend) {
    backend->InitThread();
    openmp_waiting_ = std::make_unique<OpenMpWaiting>(HasQuota(), [](bool sleeps) {
      Log(LogLevel::kDebug, "computing threads wait otherwise",
          {{"waiting", sleeps ? "sleep" : "spin"}});
    });
  }

  // On the executor's thread.
  void OnDeviceLost(const Status& loss) {
    executor_.Abandon(loss);
    events_->Post(Event::kDeviceLost);
    Log(LogLevel::kError, "the device is lost; the process must be started anew",
        {{"error", loss.ForLog()}});
  }

  // The next event; kTimeout after `patience`. Ends the process where a call of a model hangs
  // meanwhile, or the port is silent.
  Event NextEvent(milliseconds patience = kWatchInterval) {
    const Event event = events_->Wait(steady_clock::now() + patience);
    if (event == Event::kReload) credential_watch_->ReloadSoon();
    if (event != Event::kTimeout && event != Event::kReload) return event;
    if (WatchdogOf(config_, device_).count() > 0) {
      if (const auto call = progress_.FindOverdue()) EndOnHang(*call);
    }
    // While it stops, the port is closed.
    if (self_check_ != nullptr && !is_stopping_ && self_check_->IsOverdue()) EndOnSilence();
    return event;
  }

  [[noreturn]] void EndOnHang(const ProgressWatch::OverdueCall& call) {
    grpc_->StopServing();
    const double seconds = std::chrono::duration<double>(call.since_progress).count();
    Log(LogLevel::kError, "a call of a model hangs; the process must be started anew",
        {{"model", call.model},
         {"stage", DeviceCallName(call.what)},
         {"seconds", seconds},
         {"exit_code", int64_t{kExitDevice}}});
    executor_.Abandon(DeviceLost("a call of a model hangs"));
    EndAfterNotice();
  }

  [[noreturn]] void EndOnSilence() {
    const double seconds = std::chrono::duration<double>(config_.self_check).count();
    Log(LogLevel::kError, "the own port does not answer; the process must be started anew",
        {{"listen", grpc_->address()},
         {"seconds", seconds},
         {"error", self_check_->last_failure()},
         {"exit_code", int64_t{kExitDevice}}});
    // Not from this thread: what keeps the port silent may keep whoever touches it.
    try {
      std::thread([this] {
        grpc_->StopServing();
        executor_.Abandon(DeviceLost("the server does not answer"));
      }).detach();
    } catch (const std::exception&) {  // no thread left: nobody hears of it
    }
    EndAfterNotice();
  }

  [[noreturn]] void EndAfterNotice() {
    std::this_thread::sleep_for(kHangNotice);
    RemoveAddressFile();
    EndNow(kExitDevice);
  }

  // True when the server has to stop, false when no model can be served.
  bool WaitForEnd() {
    for (;;) {
      const Event event = NextEvent();
      if (event == Event::kDeviceLost) device_lost_ = true;
      if (event == Event::kTerminate || device_lost_) return true;
      if (event != Event::kModelsLoaded) continue;
      models_loaded_ = true;
      if (!AnnounceReady()) return false;
    }
  }

  bool AnnounceReady() {
    const std::vector<ModelSnapshot> models = registry_.List();
    const auto count = [&models](ModelState state) {
      return static_cast<int64_t>(std::ranges::count(models, state, &ModelSnapshot::state));
    };
    if (count(ModelState::kFailed) == std::ssize(models)) {
      Log(LogLevel::kError, "no model could be loaded");
      return false;
    }
    for (const ModelSnapshot& model : models) {
      if (model.description == nullptr) continue;
      for (const std::string& why :
           NeverServed(*model.description, config_.limits, ledger_.limit_bytes())) {
        Log(LogLevel::kWarning, "no request for this model can be served",
            {{"model", model.spec.name}, {"why", why}});
      }
    }
    grpc_->SetReady(true);
    Log(LogLevel::kInfo, "ready",
        {{"resident_model_count", count(ModelState::kResident)},
         {"failed_model_count", count(ModelState::kFailed)},
         {"model_count", static_cast<int64_t>(models.size())}});
    return true;
  }

  int Stop() {
    is_stopping_ = true;
    // Of a lost device nothing is left to finish: what remains is to tell clients.
    const milliseconds timeout = device_lost_ ? kHandOver : config_.drain_timeout;
    // Whoever reads NOT_SERVING can rely on it.
    executor_.StopAccepting();
    grpc_->StopServing();
    Log(LogLevel::kInfo, "draining",
        {{"queued", int64_t{executor_.queued_count()}},
         {"running", int64_t{executor_.running_count()}},
         {"timeout_seconds", std::chrono::duration<double>(timeout).count()}});
    std::thread drainer([this] {
      try {
        Drain();
      } catch (const std::exception&) {  // no memory
        requests_were_cut_ = true;
      }
      events_->Post(Event::kDrained);
    });
    WaitUntilDrained(timeout);
    drainer.join();
    if (canceller_.joinable()) canceller_.join();
    if (device_lost_) return kExitDevice;
    return requests_were_cut_ ? kExitDrainTimeout : kExitDrained;
  }

  // On a thread of its own: waits for requests, then for their clients.
  void Drain() {
    executor_.Drain(kNoLimit);
    // What remains is to hand finished pictures, or the reason why there are none, to clients.
    // All of it comes before gRPC's farewell, which a client answers when it has read what came
    // before: closing earlier would reset connections with bytes under way.
    RunningTime handing_over(&Clock::Real(), kLongestWatchGap);
    while (!in_flight_calls_.WaitForNone(steady_clock::now() + kWatchInterval) &&
           handing_over.Elapsed() < kHandOver) {
    }
    // gRPC's farewell may answer a call that just arrives with CANCELLED, which clients do not send
    // again; a closed connection is UNAVAILABLE.
    if (device_lost_) {
      std::this_thread::sleep_for(kLastMoment);
      return;
    }
    // Not longer: a watch on health never ends by itself.
    grpc_->Shutdown(
        std::max(kLastMoment, std::chrono::ceil<milliseconds>(kHandOver - handing_over.Elapsed())));
  }

  // Cancels requests once the process has run for `limit`, or at a second signal, and ends the
  // process when a call of a model does not come back then.
  void WaitUntilDrained(milliseconds limit) {
    RunningTime running(&Clock::Real(), kLongestWatchGap);
    std::chrono::nanoseconds cancel_at = limit;
    for (;;) {
      const std::chrono::nanoseconds left = cancel_at - running.Elapsed();
      switch (NextEvent(
          std::clamp(std::chrono::ceil<milliseconds>(left), milliseconds(0), kWatchInterval))) {
        case Event::kDrained:
          return;
        case Event::kTerminate:
          Log(LogLevel::kWarning, "second signal: cancelling",
              {{"queued", int64_t{executor_.queued_count()}},
               {"running", int64_t{executor_.running_count()}}});
          cancel_at = std::min(cancel_at, running.Elapsed());
          break;
        case Event::kModelsLoaded:
          models_loaded_ = true;
          break;
        case Event::kDeviceLost:
          device_lost_ = true;
          break;
        case Event::kReload:
        case Event::kTimeout:
          break;
      }
      if (running.Elapsed() >= cancel_at) CancelAll();
      if (running.Elapsed() >= cancel_at + kCancelGrace) EndOnStuckModel();
    }
  }

  [[noreturn]] void EndOnStuckModel() {
    const int code = device_lost_ ? kExitDevice : kExitDrainTimeout;
    Log(LogLevel::kError, "a model does not come back; abandoning it",
        {{"running", int64_t{executor_.running_count()}}, {"exit_code", int64_t{code}}});
    RemoveAddressFile();
    EndNow(code);
  }

  void CancelAll() {
    if (canceller_.joinable()) return;
    canceller_ = std::thread([this] {
      try {
        if (!executor_.Drain(milliseconds(0))) requests_were_cut_ = true;
      } catch (const std::exception&) {  // no memory: the end of the process cuts them
        requests_were_cut_ = true;
      }
    });
  }

  void RemoveAddressFile() const {
    if (address_file_ != nullptr) address_file_->Remove();
  }

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

int EndOfOutput() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  PrintError(std::string("cannot write to stdout: ") + std::strerror(errno));
  return kExitInternal;
}

int Act(const CommandLine& line, const BackendFactory& backends, const ServeOverrides& overrides) {
  switch (line.action) {
    case CommandLine::Action::kHelp:
      std::fputs(line.help.c_str(), stdout);
      return EndOfOutput();
    case CommandLine::Action::kVersion:
      std::printf("tightfit-server %s\nLibTorch %s\n", BuildVersionText().c_str(),
                  backends.libtorch_version.c_str());
      return EndOfOutput();
    case CommandLine::Action::kCheck:
      if (const auto security = ReadServerSecurity(line.config, {}); security.ok()) {
        for (const std::string& warning : security->warnings) PrintError("warning: " + warning);
      }
      if (const Status status = CheckModels(line.config, line.origins, backends); !status.ok()) {
        PrintError(status.message());
        return kExitConfiguration;
      }
      std::printf("The configuration is valid: %zu model%s.\n", line.config.models.size(),
                  line.config.models.size() == 1 ? "" : "s");
      return EndOfOutput();
    case CommandLine::Action::kNewToken:
      if (const Status status = RunNewToken(line.new_token); !status.ok()) {
        PrintError(status.ForLog());
        return kExitConfiguration;
      }
      return 0;
    case CommandLine::Action::kServe:
      break;
  }
  return RunServer(line.config, backends, overrides);
}

}  // namespace

int RunServer(const ServerConfig& configured, const BackendFactory& backends,
              const ServeOverrides& overrides) {
  ServerConfig config = configured;
  Result<std::unique_ptr<ProcessEvents>> events = ProcessEvents::Open();
  if (!events.ok()) {
    PrintError(events.status().ForLog());
    return kExitInternal;
  }
  // Read again here, where the files are used: ValidateConfig has checked what they were then.
  Result<ServerSecurity> security = ReadServerSecurity(config, {});
  if (!security.ok()) {
    PrintError(security.status().ForLog());
    return kExitConfiguration;
  }
  OpenLog(LogLevelByName(config.log_level), LogFormatByName(config.log_format), stderr);
  if (const Status status = SetConnectionLimits(&config.limits); !status.ok()) {
    PrintError(status.message());
    return kExitConfiguration;
  }
  Result<BackendDevice> device = OpenDevice(config, backends);
  if (!device.ok()) {
    PrintError("device: " + device.status().ForLog());
    return kExitConfiguration;
  }
  const int64_t memory_limit_bytes = MemoryLimitBytes(config, *device);
  const std::unique_ptr<ModelBackend> backend = backends.open(
      *device,
      {.thread_count = ChooseThreads(config), .host_cache_bytes = HostCacheBytes(config, *device)});
  const HeapTrimmer heap_trimmer;
  const int code =
      RunningServer(config, std::move(security).value(), std::move(device).value(), backends,
                    backend.get(), overrides, memory_limit_bytes, events->get())
          .Run();
  // exit() would wait for a line that is being written.
  if (!FlushLog(kLogHandOver)) _exit(code);
  return code;
}

int ServerMain(int argc, const char* const* argv, const BackendFactory& backends,
               const ServeOverrides& overrides) {
  SetUpHeap();
  // No code of ours throws; what libraries throw past us ends here with a line and a code.
  try {
    const Result<CommandLine> line = ReadCommandLine(argc, argv);
    if (!line.ok()) {
      PrintError(line.status().message());
      return kExitConfiguration;
    }
    return Act(*line, backends, overrides);
  } catch (const std::exception& error) {
    PrintError(std::string("internal error: ") + error.what());
  } catch (...) {
    PrintError("internal error");
  }
  return kExitInternal;
}

}  // namespace tightfit
