#include "server/serve.h"

#include "kernels/format.h"
#include "server/address_file.h"
#include "server/base/clock.h"
#include "server/base/cpu_share.h"
#include "server/base/device_loss.h"
#include "server/base/openmp_waiting.h"
#include "server/build_version.h"
#include "server/command_line.h"
#include "server/compute_threads.h"
#include "server/config_security.h"
#include "server/engine/device_executor.h"
#include "server/engine/model_registry.h"
#include "server/engine/progress_watch.h"
#include "server/engine/watched_device.h"
#include "server/heap_keeper.h"
#include "server/listen_address.h"
#include "server/memory/device_ledger.h"
#include "server/memory/memory_accounts.h"
#include "server/process_events.h"
#include "server/rpc/grpc_server.h"
#include "server/telemetry/device_memory.h"
#include "server/telemetry/load_log.h"
#include "server/telemetry/logging.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/metrics_endpoint.h"
#include "server/telemetry/request_log.h"
#include "server/token_command.h"
#include "server/unfinished_calls.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
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
// A GPU takes seconds for the longest step there is, a CPU minutes.
constexpr std::chrono::minutes kWatchdogOnCpu{10};
constexpr std::chrono::seconds kWatchdogOnGpu{30};

void PrintError(const std::string& line) {
  std::fprintf(stderr, "tightfit-server: %s\n", line.c_str());
}

DeviceMemory ReadDeviceMemory(const BackendDevice& device) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  DeviceMemory memory;
  memory.host_cache_bytes = accounts.TotalOf(MemoryPurpose::kHostCache);
  memory.attributed_bytes =
      accounts.total_bytes() - accounts.unowned()->current_bytes() - memory.host_cache_bytes;
  if (device.read_memory) {
    const OwnMemory own = device.read_memory();
    memory.total_bytes = own.total_bytes;
    memory.used_bytes = own.total_bytes - own.free_bytes;
  } else {
    const CpuMemory cpu = ReadCpuMemory();
    memory.total_bytes = cpu.total_bytes;
    memory.used_bytes = cpu.used_bytes - memory.host_cache_bytes;
  }
  return memory;
}

ServerInfo MakeServerInfo(const BackendDevice& device, const ModelBackend& backend) {
  ServerInfo info;
  info.version = BuildVersion();
  info.build_commit = BuildCommit();
  info.libtorch_version = backend.libtorch_version;
  info.device_name = device.name;
  info.device_description = device.description.empty() ? ReadCpuName() : device.description;
  info.device_memory = [device] { return ReadDeviceMemory(device); };
  info.formats.push_back({"fp16", 16.0, 65504.0});
  for (const FormatInfo& format : kFormats) {
    info.formats.push_back(
        {std::string(format.name), static_cast<double>(format.bits), format.max_value});
  }
  info.scopes.assign(kScopes.begin(), kScopes.end());
  return info;
}

ModelLoader LoaderOn(const std::string& device, const ModelBackend& backend) {
  return [device, load = backend.load](const ModelSpec& spec, const LoadCallback& progress) {
    return load(spec, device, progress);
  };
}

std::function<void()> ThreadInitOn(const std::string& device, const ModelBackend& backend) {
  if (!backend.init_thread) return {};
  return [device, init = backend.init_thread] { init(device); };
}

ModelDescriber DescriberOn(const std::string& device, const ModelBackend& backend) {
  if (!backend.describe) return {};
  return [device, describe = backend.describe](const ModelSpec& spec) {
    return describe(spec, device);
  };
}

// What the server may use of its device.
int64_t MemoryLimitBytes(const ServerConfig& config, const BackendDevice& device) {
  constexpr int64_t kReserveShare = 10;
  if (config.memory_limit_mib > 0) return int64_t{config.memory_limit_mib} << 20;
  const int64_t available_bytes =
      device.read_memory ? device.read_memory().free_bytes : ReadCpuMemory().available_bytes;
  return available_bytes - available_bytes / kReserveShare;
}

// What weights that left the device may take of the host's memory. On a CPU that is the device's:
// what is taken off it would not be given back.
int64_t HostCacheBytes(const ServerConfig& config, const BackendDevice& device) {
  if (config.host_cache_mib >= 0) return int64_t{config.host_cache_mib} << 20;
  if (!device.read_memory) return 0;
  return ReadCpuMemory().available_bytes / 2;
}

// How long a call of a model may take without progress; zero: for ever.
milliseconds WatchdogOf(const ServerConfig& config, const BackendDevice& device) {
  if (config.watchdog.count() >= 0) return config.watchdog;
  return device.read_memory ? milliseconds(kWatchdogOnGpu) : kWatchdogOnCpu;
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

Result<BackendDevice> OpenDevice(const ServerConfig& config, const ModelBackend& backend) {
  if (backend.open_device) return backend.open_device(config.device);
  if (config.device == "auto" || config.device == "cpu") return BackendDevice();
  return BadConfiguration(config.device +
                          " is not available: this server computes on the CPU only; use device = "
                          "\"cpu\" or \"auto\"");
}

// The objects of a running server, in order of construction. Members are destroyed last to first.
class RunningServer {
 public:
  RunningServer(const ServerConfig& config, ServerSecurity security, BackendDevice device,
                const ModelBackend& backend, int64_t memory_limit_bytes, ProcessEvents* events)
      : config_(config),
        security_(std::move(security)),
        device_(std::move(device)),
        info_(MakeServerInfo(device_, backend)),
        events_(events),
        registry_(config.models),
        ledger_(memory_limit_bytes),
        load_log_(&Clock::Real()),
        metrics_(&registry_, info_, &ledger_),
        request_log_(&metrics_),
        unfinished_calls_(&request_log_),
        progress_(&Clock::Real(), WatchdogOf(config, device_)),
        watched_(&progress_, device_.probe, [this](const Status& loss) { OnDeviceLost(loss); }),
        executor_(&registry_, watched_.Loader(LoaderOn(device_.name, backend)),
                  {.max_queued_requests = config.limits.max_queued_requests,
                   .max_running_requests = config.max_running_requests,
                   .thread_init =
                       [this, init = ThreadInitOn(device_.name, backend)] { InitThread(init); },
                   .thread_exit = backend.exit_thread,
                   .describe = DescriberOn(device_.name, backend),
                   .ledger = &ledger_,
                   .drop_caches = watched_.CacheDrop(backend.drop_caches)},
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
    executor_.Start([this] { events_->Post(Event::kModelsLoaded); });
    const int code = WaitForEnd() ? Stop() : kExitConfiguration;
    RemoveAddressFile();
    Log(LogLevel::kInfo, "stopped", {{"exit_code", int64_t{code}}});
    // Nobody waits for a load to end that nobody will use, and taking models off a lost device may
    // fail in any way.
    if (!models_loaded_ || device_lost_) _exit(code);
    return code;
  }

 private:
  // Both addresses before any model: what is wrong with them shows at once.
  Status Listen() {
    GrpcServerOptions options = {config_.listen, config_.limits};
    options.tls = security_.tls;
    options.access = security_.access;
    Result<std::unique_ptr<GrpcServer>> server = GrpcServer::Start(
        options, {&executor_, &registry_, &Clock::Real(), &unfinished_calls_}, info_);
    if (!server.ok()) return CannotListen("listen", config_.listen, server.status());
    grpc_ = std::move(server).value();
    if (config_.HasMetricsEndpoint()) TF_RETURN_IF_ERROR(ListenForMetrics());
    if (config_.address_file.empty()) return OkStatus();
    return WriteAddressFile(config_.address_file, grpc_->address(), metrics_address_);
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
  void InitThread(const std::function<void()>& init) {
    if (init) init();
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

  // The next event. Ends the process where a call of a model hangs meanwhile.
  Event NextEvent(std::optional<steady_clock::time_point> deadline = std::nullopt) {
    if (WatchdogOf(config_, device_).count() == 0) return events_->Wait(deadline);
    for (;;) {
      const steady_clock::time_point look_at = steady_clock::now() + kWatchInterval;
      if (deadline.has_value() && *deadline <= look_at) return events_->Wait(deadline);
      if (const Event event = events_->Wait(look_at); event != Event::kTimeout) return event;
      if (const auto call = progress_.FindOverdue()) EndOnHang(*call);
    }
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
    std::this_thread::sleep_for(kHangNotice);
    RemoveAddressFile();
    _exit(kExitDevice);
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
    grpc_->SetReady(true);
    Log(LogLevel::kInfo, "ready",
        {{"resident_model_count", count(ModelState::kResident)},
         {"failed_model_count", count(ModelState::kFailed)},
         {"model_count", static_cast<int64_t>(models.size())}});
    return true;
  }

  int Stop() {
    // Of a lost device nothing is left to finish: what remains is to tell clients.
    const milliseconds timeout = device_lost_ ? kHandOver : config_.drain_timeout;
    const steady_clock::time_point deadline = steady_clock::now() + timeout;
    // Whoever reads NOT_SERVING can rely on it.
    executor_.StopAccepting();
    grpc_->StopServing();
    Log(LogLevel::kInfo, "draining",
        {{"queued", int64_t{executor_.queued_count()}},
         {"running", int64_t{executor_.running_count()}},
         {"timeout_seconds", std::chrono::duration<double>(timeout).count()}});
    std::thread drainer([this, timeout] {
      if (!executor_.Drain(timeout)) requests_were_cut_ = true;
      // What remains is to hand finished pictures, or the reason why there are none, to clients.
      // All of it comes before gRPC's farewell, which a client answers when it has read what came
      // before: closing earlier would reset connections with bytes under way.
      const steady_clock::time_point hand_over_end = steady_clock::now() + kHandOver;
      unfinished_calls_.WaitForNone(hand_over_end);
      // gRPC's farewell may answer a call that just arrives with CANCELLED, which clients do not
      // send again; a closed connection is UNAVAILABLE.
      if (device_lost_) {
        std::this_thread::sleep_for(kLastMoment);
        events_->Post(Event::kDrained);
        return;
      }
      // Not longer: a watch on health never ends by itself.
      grpc_->Shutdown(std::max(
          kLastMoment, std::chrono::ceil<milliseconds>(hand_over_end - steady_clock::now())));
      events_->Post(Event::kDrained);
    });
    WaitUntilDrained(deadline + kCancelGrace);
    drainer.join();
    if (canceller_.joinable()) canceller_.join();
    if (device_lost_) return kExitDevice;
    return requests_were_cut_ ? kExitDrainTimeout : kExitDrained;
  }

  // Ends the process when a call of a model does not come back until `abandon_at`.
  void WaitUntilDrained(steady_clock::time_point abandon_at) {
    for (;;) {
      switch (NextEvent(abandon_at)) {
        case Event::kDrained:
          return;
        case Event::kTerminate:
          CancelAll();
          abandon_at = std::min(abandon_at, steady_clock::now() + kCancelGrace);
          break;
        case Event::kModelsLoaded:
          models_loaded_ = true;
          break;
        case Event::kDeviceLost:
          device_lost_ = true;
          break;
        case Event::kTimeout:
          const int code = device_lost_ ? kExitDevice : kExitDrainTimeout;
          Log(LogLevel::kError, "a model does not come back; abandoning it",
              {{"running", int64_t{executor_.running_count()}}, {"exit_code", int64_t{code}}});
          RemoveAddressFile();
          _exit(code);
      }
    }
  }

  void CancelAll() {
    if (canceller_.joinable()) return;  // a third signal
    Log(LogLevel::kWarning, "second signal: cancelling",
        {{"queued", int64_t{executor_.queued_count()}},
         {"running", int64_t{executor_.running_count()}}});
    canceller_ = std::thread([this] {
      if (!executor_.Drain(milliseconds(0))) requests_were_cut_ = true;
    });
  }

  void RemoveAddressFile() const {
    if (!config_.address_file.empty()) std::remove(config_.address_file.c_str());
  }

  const ServerConfig config_;
  const ServerSecurity security_;
  const BackendDevice device_;
  const ServerInfo info_;
  ProcessEvents* const events_;
  ModelRegistry registry_;
  DeviceLedger ledger_;
  LoadLog load_log_;
  Metrics metrics_;
  RequestLog request_log_;
  UnfinishedCalls unfinished_calls_;
  ProgressWatch progress_;
  const WatchedDevice watched_;
  std::unique_ptr<OpenMpWaiting> openmp_waiting_;  // made by the executor's thread
  DeviceExecutor executor_;
  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<MetricsEndpoint> endpoint_;
  std::string metrics_address_;
  bool models_loaded_ = false;
  std::atomic<bool> device_lost_{false};
  std::atomic<bool> requests_were_cut_{false};
  std::thread canceller_;
};

int Act(const CommandLine& line, const ModelBackend& backend) {
  switch (line.action) {
    case CommandLine::Action::kHelp:
      std::fputs(line.help.c_str(), stdout);
      return 0;
    case CommandLine::Action::kVersion:
      std::printf("tightfit-server %s\nLibTorch %s\n", BuildVersionText().c_str(),
                  backend.libtorch_version.c_str());
      return 0;
    case CommandLine::Action::kCheck:
      if (const auto security = ReadServerSecurity(line.config, {}); security.ok()) {
        for (const std::string& warning : security->warnings) PrintError("warning: " + warning);
      }
      std::printf("The configuration is valid: %zu model%s.\n", line.config.models.size(),
                  line.config.models.size() == 1 ? "" : "s");
      return 0;
    case CommandLine::Action::kNewToken:
      if (const Status status = RunNewToken(line.new_token); !status.ok()) {
        PrintError(status.ForLog());
        return kExitConfiguration;
      }
      return 0;
    case CommandLine::Action::kServe:
      break;
  }
  return RunServer(line.config, backend);
}

}  // namespace

int RunServer(const ServerConfig& config, const ModelBackend& backend) {
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
  Result<BackendDevice> device = OpenDevice(config, backend);
  if (!device.ok()) {
    PrintError("device: " + device.status().ForLog());
    return kExitConfiguration;
  }
  const int64_t memory_limit_bytes = MemoryLimitBytes(config, *device);
  if (backend.init_process) {
    backend.init_process(device->name, ChooseThreads(config), HostCacheBytes(config, *device));
  }
  const HeapKeeper heap_keeper;
  return RunningServer(config, std::move(security).value(), std::move(device).value(), backend,
                       memory_limit_bytes, events->get())
      .Run();
}

int ServerMain(int argc, const char* const* argv, const ModelBackend& backend) {
  SetUpHeap();
  // No code of ours throws; what libraries throw past us ends here with a line and a code.
  try {
    const Result<CommandLine> line = ReadCommandLine(argc, argv);
    if (!line.ok()) {
      PrintError(line.status().message());
      return kExitConfiguration;
    }
    return Act(*line, backend);
  } catch (const std::exception& error) {
    PrintError(std::string("internal error: ") + error.what());
  } catch (...) {
    PrintError("internal error");
  }
  return kExitInternal;
}

}  // namespace tightfit
