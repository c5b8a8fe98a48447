#include "server/app/device_binding.h"

#include "kernels/format.h"
#include "server/app/build_version.h"
#include "server/base/host_memory.h"
#include "server/engine/guarded_call.h"
#include "server/engine/never_served.h"
#include "server/memory/memory_accounts.h"

#include <optional>
#include <vector>

namespace tightfit {
namespace {

// A GPU takes seconds for the longest step there is, a CPU minutes.
constexpr std::chrono::minutes kWatchdogOnCpu{10};
constexpr std::chrono::seconds kWatchdogOnGpu{30};

DeviceMemory ReadDeviceMemory(const BackendDevice& device) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  DeviceMemory memory;
  memory.host_cache_bytes = accounts.TotalOf(MemoryPurpose::kHostCache);
  memory.attributed_bytes =
      accounts.total_bytes() - accounts.unowned()->current_bytes() - memory.host_cache_bytes;
  if (device.read_memory) {
    const DedicatedMemory own = device.read_memory();
    memory.total_bytes = own.total_bytes;
    memory.used_bytes = own.total_bytes - own.free_bytes;
  } else {
    const HostMemory cpu = ReadHostMemory();
    memory.total_bytes = cpu.total_bytes;
    memory.used_bytes = cpu.used_bytes - memory.host_cache_bytes;
  }
  return memory;
}

}  // namespace

ServerInfo MakeServerInfo(const BackendDevice& device, const std::string& libtorch_version) {
  ServerInfo info;
  info.version = BuildVersion();
  info.build_commit = BuildCommit();
  info.libtorch_version = libtorch_version;
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

ModelDescriber DescriberOn(const std::string& device, const BackendFactory& backends) {
  if (!backends.describe) return {};
  return [device, describe = backends.describe](const ModelSpec& spec) {
    return describe(spec, device);
  };
}

Status CheckModels(const ServerConfig& config, const ConfigOrigins& origins,
                   const BackendFactory& backends) {
  if (!backends.describe) return OkStatus();
  const std::string device = config.device == "auto"   ? "cpu"
                             : config.device == "cuda" ? "cuda:0"
                                                       : config.device;
  std::optional<int64_t> memory_limit_bytes;
  if (config.memory_limit_mib > 0) memory_limit_bytes = int64_t{config.memory_limit_mib} << 20;
  for (const ModelSpec& model : config.models) {
    const auto found = origins.find("model." + model.name);
    const std::string origin =
        found == origins.end() ? "model \"" + model.name + "\"" : found->second;
    const Result<ModelDescription> described = Guarded(
        "the model directory cannot be read", [&] { return backends.describe(model, device); });
    if (!described.ok()) return BadConfiguration(origin + ": " + described.status().ForLog());
    std::optional<int64_t> limit_bytes = memory_limit_bytes;
    // On a GPU, which "auto" may mean, it takes as little as half of what it takes here.
    if (limit_bytes.has_value() && config.device == "auto" &&
        NeverServed(*described, config.limits, 2 * *limit_bytes).empty()) {
      limit_bytes.reset();
    }
    const std::vector<std::string> reasons = NeverServed(*described, config.limits, limit_bytes);
    if (!reasons.empty()) return BadConfiguration(origin + ": " + reasons.front());
  }
  return OkStatus();
}

int64_t MemoryLimitBytes(const ServerConfig& config, const BackendDevice& device) {
  constexpr int64_t kReserveShare = 10;
  if (config.memory_limit_mib > 0) return int64_t{config.memory_limit_mib} << 20;
  const int64_t available_bytes =
      device.read_memory ? device.read_memory().free_bytes : ReadHostMemory().available_bytes;
  return available_bytes - available_bytes / kReserveShare;
}

int64_t HostCacheBytes(const ServerConfig& config, const BackendDevice& device) {
  if (config.host_cache_mib >= 0) return int64_t{config.host_cache_mib} << 20;
  if (!device.read_memory) return 0;
  return ReadHostMemory().available_bytes / 2;
}

std::chrono::milliseconds WatchdogOf(const ServerConfig& config, const BackendDevice& device) {
  if (config.watchdog.count() >= 0) return config.watchdog;
  return device.read_memory ? std::chrono::milliseconds(kWatchdogOnGpu) : kWatchdogOnCpu;
}

}  // namespace tightfit
