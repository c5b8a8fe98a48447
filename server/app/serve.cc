#include "server/app/serve.h"

#include "server/app/build_version.h"
#include "server/app/device_binding.h"
#include "server/app/heap_trimmer.h"
#include "server/app/process_events.h"
#include "server/app/running_server.h"
#include "server/app/token_command.h"
#include "server/base/connection_limits.h"
#include "server/config/command_line.h"
#include "server/config/config_security.h"
#include "server/telemetry/logging.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <utility>

namespace tightfit {

void PrintError(const std::string& line) {
  std::fprintf(stderr, "tightfit-server: %s\n", line.c_str());
}

namespace {

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
  const std::unique_ptr<ModelBackend> backend =
      backends.open(*device, {.thread_count = ThreadsOf(config).count,
                              .host_cache_bytes = HostCacheBytes(config, *device),
                              .profile_directory = config.profile_dir});
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
