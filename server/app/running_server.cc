#include "server/app/running_server.h"

#include "server/app/device_binding.h"
#include "server/base/clock.h"
#include "server/base/connection_limits.h"
#include "server/base/cpu_share.h"
#include "server/base/listen_address.h"
#include "server/engine/never_served.h"
#include "server/telemetry/logging.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using Event = ProcessEvents::Event;

// Whether the time of the processors is limited, and not only their number.
bool HasQuota() {
  const CpuShare share = ReadCpuShare();
  return share.quota_cpus.has_value() && *share.quota_cpus < share.cpu_count;
}

// On a thread of its own, which nobody waits for.
void RunAside(std::function<void()> task) {
  try {
    std::thread(task).detach();
  } catch (const std::exception&) {  // no thread left
    task();
  }
}

// How many threads compute, and how they wait for each other.
void LogThreads(const ComputeThreads& threads) {
  const std::string users_waiting = UsersOpenMpWaiting();
  Log(LogLevel::kInfo, "computing threads",
      {{"threads", int64_t{threads.count}},
       {"threads_by", threads.chosen_by},
       {"waiting", !users_waiting.empty() ? users_waiting
                   : HasQuota()           ? "sleep"
                                          : "by contention"},
       {"waiting_by", users_waiting.empty() ? "server" : "environment"}});
}

}  // namespace

ComputeThreads ThreadsOf(const ServerConfig& config) {
  return ChooseComputeThreads(config.threads, std::getenv("OMP_NUM_THREADS"), ReadCpuShare());
}

RunningServer::RunningServer(const ServerConfig& config, ServerSecurity security,
                             BackendDevice device, const BackendFactory& backends,
                             ModelBackend* backend, const ServeOverrides& overrides,
                             int64_t memory_limit_bytes, ProcessEvents* events)
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
                 .run_look = RunAside,
                 .ledger = &ledger_,
                 .drop_caches = watched_.CacheDrop([backend] { backend->DropCaches(); })},
                &Clock::Real(), &metrics_) {
  registry_.OnChange([this](const ModelSnapshot& model) { load_log_.OnChange(model); });
  registry_.OnProgress([this](const ModelSnapshot& model) { load_log_.OnChange(model); });
}

int RunningServer::Run() {
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

Status RunningServer::Listen() {
  GrpcServerOptions options = {config_.listen, config_.limits};
  options.tls = security_.tls;
  options.access = security_.access;
  Result<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start(options, {&executor_, &registry_, &Clock::Real(), &observers_}, info_);
  if (!server.ok()) return CannotListen("listen", config_.listen, server.status());
  grpc_ = std::move(server).value();
  if (config_.HasMetricsEndpoint()) TF_RETURN_IF_ERROR(ListenForMetrics());
  if (config_.address_file.empty()) return OkStatus();
  TF_ASSIGN_OR_RETURN(address_file_,
                      AddressFile::Write(config_.address_file, grpc_->address(), metrics_address_));
  return OkStatus();
}

Status RunningServer::ListenForMetrics() {
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

void RunningServer::WatchCredentials() {
  CredentialWatchOptions options;
  options.access = security_.access;
  if (security_.tls.has_value()) {
    options.replace_tls = [this](TlsIdentity identity) { grpc_->ReplaceTls(std::move(identity)); };
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

void RunningServer::StartSelfCheck() {
  if (config_.self_check.count() == 0) return;
  AskOwnPort ask = [this](milliseconds patience) { return grpc_->AskOwnPort(patience); };
  if (overrides_.ask_own_port) {
    ask = [ask, override = overrides_.ask_own_port](milliseconds patience) {
      return override(patience, ask);
    };
  }
  self_check_ = std::make_unique<SelfCheck>(std::move(ask), config_.self_check);
}

Status RunningServer::CannotListen(const char* setting, const std::string& address,
                                   const Status& status) {
  return BadConfiguration(std::string(setting) + ": " + address + ": " + status.ForLog());
}

void RunningServer::LogListening() const {
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
  LogThreads(ThreadsOf(config_));
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

void RunningServer::InitThread(ModelBackend* backend) {
  backend->InitThread();
  openmp_waiting_ = std::make_unique<OpenMpWaiting>(HasQuota(), [](bool sleeps) {
    Log(LogLevel::kDebug, "computing threads wait otherwise",
        {{"waiting", sleeps ? "sleep" : "spin"}});
  });
}

bool RunningServer::WaitForEnd() {
  for (;;) {
    const Event event = NextEvent(kWatchInterval);
    if (event == Event::kDeviceLost) device_lost_ = true;
    if (event == Event::kTerminate || device_lost_) return true;
    if (event != Event::kModelsLoaded) continue;
    models_loaded_ = true;
    if (!AnnounceReady()) return false;
  }
}

std::string RunningServer::CommandToTry() const {
  std::string command = "tightfit generate 'a red apple'";
  if (grpc_->address() != ServerConfig().listen) command += " --server " + grpc_->address();
  if (config_.models.size() > 1) {
    const std::vector<ModelSnapshot> models = registry_.List();
    const auto served = std::ranges::find_if(
        models, [](const ModelSnapshot& model) { return model.state != ModelState::kFailed; });
    if (served != models.end()) command += " --model " + served->spec.name;
  }
  if (security_.tls.has_value()) command += " --tls-ca CA.pem";
  if (security_.tls.has_value() && !security_.tls->client_ca.empty()) {
    command += " --tls-cert CERTIFICATE.pem --tls-key KEY.pem";
  }
  if (security_.access.has_tokens()) command += " --token-file FILE";
  return command;
}

bool RunningServer::AnnounceReady() {
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
       {"model_count", static_cast<int64_t>(models.size())},
       {"try", CommandToTry()}});
  return true;
}

}  // namespace tightfit
