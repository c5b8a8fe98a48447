// The settings of LibTorch that the process and its threads need before they call a model.
#include "server/device/compute_device.h"
#include "server/device/counting_allocator.h"
#include "server/device/device_accounts.h"
#include "server/device/run_torch.h"
#include "server/model/packed_ops.h"
#include "server/pipeline/component_store.h"
#include "server/pipeline/sdxl_model.h"

#include <ATen/Parallel.h>
#include <malloc.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/version.h>

namespace tightfit {
namespace {

// Of the process: one server has one device.
at::Device process_device = at::kCPU;

}  // namespace

void InitTorchProcess(const std::string& device, int thread_count, int64_t host_cache_bytes) {
  process_device = at::Device(device);
  if (process_device.is_cpu()) {
    InstallCountingAllocator();
  } else {
    // The device has memory of its own, and that of the host is nobody's account.
    ReturnFreedBlocksToTheSystem();
  }
  // LibTorch's own default is one thread for each core.
  if (thread_count > 0) at::set_num_threads(thread_count);
  ComponentStore::Instance().SetHostCacheLimit(host_cache_bytes);
}

// Inference mode is thread-local too, but only a scope can set it: RunTorch does, around every
// call.
void InitTorchThread(const std::string& device) {
  SetThreadDevice(at::Device(device));
  ChargeDeviceMemoryOfThisThread();
  // What is wrong with the device shows again, and is told, at the first load.
  static_cast<void>(RunTorch("start the device's libraries", [&] {
    StartDeviceLibraries(at::Device(device));
    return OkStatus();
  }));
  // The profiling executor would record the first calls and specialise on their shapes: slow first
  // pictures for nothing gained.
  torch::jit::setGraphExecutorOptimize(false);
}

void ExitTorchThread() { ComponentStore::Instance().SetHostCacheLimit(0); }

void DropTorchCaches() {
  if (process_device.is_cpu()) {
    // They are of the same memory.
    ComponentStore::Instance().DropHostCache();
  }
  ReleaseDecodeScratch();
  ReleaseCachedBlocks();
  // It waits for the device, whose errors come up then.
  static_cast<void>(RunTorch("give memory back", [] {
    ReleaseDeviceCache(process_device);
    return OkStatus();
  }));
  malloc_trim(0);
}

std::string LibTorchVersion() { return TORCH_VERSION; }

}  // namespace tightfit
