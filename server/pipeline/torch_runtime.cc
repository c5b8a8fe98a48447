// The settings of LibTorch that the process and its threads need before they call a model.
#include "server/model/counting_allocator.h"
#include "server/model/packed_ops.h"
#include "server/pipeline/component_store.h"
#include "server/pipeline/sdxl_model.h"

#include <ATen/Parallel.h>
#include <malloc.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/version.h>

namespace tightfit {

void InitTorchProcess(int thread_count, int64_t host_cache_bytes) {
  InstallCountingAllocator();
  // LibTorch's own default is one thread for each core.
  if (thread_count > 0) at::set_num_threads(thread_count);
  ComponentStore::Instance().SetHostCacheLimit(host_cache_bytes);
}

// Inference mode is thread-local too, but only a scope can set it: RunTorch does, around every
// call.
void InitTorchThread() {
  // The profiling executor would record the first calls and specialise on their shapes: slow first
  // pictures for nothing gained.
  torch::jit::setGraphExecutorOptimize(false);
}

void DropTorchCaches() {
  // On a CPU they are of the same memory.
  ComponentStore::Instance().DropHostCache();
  ReleaseDecodeScratch();
  ReleaseCachedBlocks();
  malloc_trim(0);
}

std::string LibTorchVersion() { return TORCH_VERSION; }

}  // namespace tightfit
