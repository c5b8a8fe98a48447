#include "server/pipeline/device_runtime.h"

#include "server/device/compute_device.h"
#include "server/device/counting_allocator.h"
#include "server/device/device_accounts.h"
#include "server/device/run_torch.h"
#include "server/weights/decode_product.h"
#include "server/weights/weight_store.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <malloc.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/version.h>

#include <fstream>
#include <optional>
#include <string_view>
#include <utility>

namespace tightfit {

namespace {

std::string CpuModelName() {
  constexpr std::string_view kName = "model name";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kName)) return line.substr(kName.size());
  }
  return {};
}

// Everything that decides what requests take.
std::string ProfileKey(const std::string& device, const std::vector<std::string>& content_keys) {
  std::string key = device + "\n" + at::get_cpu_capability() + CpuModelName() + "\n" +
                    std::to_string(at::get_num_threads()) + " threads\n" + LibTorchVersion() + "\n";
  for (const std::string& content_key : content_keys) key += content_key + "\n";
  return key;
}

}  // namespace

DeviceRuntime::DeviceRuntime(std::string device, int thread_count, int64_t host_cache_bytes,
                             std::string profile_directory)
    : device_(std::move(device)),
      weights_(std::make_unique<WeightStore>()),
      profiles_(at::Device(device_).is_cpu() ? std::move(profile_directory) : std::string()) {
  if (at::Device(device_).is_cpu()) {
    InstallCountingAllocator();
  } else {
    // The device has memory of its own, and that of the host is nobody's account.
    ReturnFreedBlocksToTheSystem();
  }
  // LibTorch's own default is one thread for each core.
  if (thread_count > 0) at::set_num_threads(thread_count);
  weights_->SetHostCacheLimit(host_cache_bytes);
}

DeviceRuntime::~DeviceRuntime() = default;

// Inference mode is thread-local too, but only a scope can set it: RunTorch does, around every
// call.
void DeviceRuntime::InitThread() {
  SetThreadDevice(at::Device(device_));
  ChargeDeviceMemoryOfThisThread();
  // What is wrong with the device shows again, and is told, at the first load.
  static_cast<void>(RunTorch("start the device's libraries", [&] {
    StartDeviceLibraries(at::Device(device_));
    return OkStatus();
  }));
  // The profiling executor would record the first calls and specialise on their shapes: slow first
  // images for nothing gained.
  torch::jit::setGraphExecutorOptimize(false);
}

void DeviceRuntime::ExitThread() { weights_->SetHostCacheLimit(0); }

void DeviceRuntime::DropCaches() {
  // On a CPU they are of the same memory.
  if (at::Device(device_).is_cpu()) weights_->DropHostCache();
  ReleaseDecodeScratch();
  ReleaseCachedBlocks();
  // It waits for the device, whose errors come up then.
  static_cast<void>(RunTorch("give memory back", [&] {
    ReleaseDeviceCache(at::Device(device_));
    return OkStatus();
  }));
  malloc_trim(0);
}

Result<std::shared_ptr<const ClipTokenizer>> DeviceRuntime::Tokenizer(
    const std::string& digests,
    const std::function<Result<std::unique_ptr<ClipTokenizer>>()>& load) {
  std::weak_ptr<const ClipTokenizer>& known = tokenizers_[digests];
  if (std::shared_ptr<const ClipTokenizer> tokenizer = known.lock()) return tokenizer;
  TF_ASSIGN_OR_RETURN(std::unique_ptr<ClipTokenizer> loaded, load());
  std::shared_ptr<const ClipTokenizer> shared = std::move(loaded);
  known = shared;
  return shared;
}

Result<RequestCosts> DeviceRuntime::Costs(const std::vector<std::string>& content_keys,
                                          const std::function<Result<RequestCosts>()>& measure) {
  if (leaves_costs_out_) return RequestCosts();
  if (const auto found = costs_.find(content_keys); found != costs_.end()) return found->second;
  const std::string key = ProfileKey(device_, content_keys);
  std::optional<RequestCosts> costs = profiles_.Find(key);
  if (!costs.has_value()) {
    TF_ASSIGN_OR_RETURN(costs, measure());
    profiles_.Keep(key, *costs);
  }
  costs_[content_keys] = *costs;
  return *costs;
}

std::string LibTorchVersion() { return TORCH_VERSION; }

}  // namespace tightfit
