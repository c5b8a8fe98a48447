// A real model behind an executor, and one image of it at a time.
#ifndef TIGHTFIT_TESTS_INTEGRATION_ONE_IMAGE_H_
#define TIGHTFIT_TESTS_INTEGRATION_ONE_IMAGE_H_

#include "server/base/status.h"
#include "server/engine/device_executor.h"
#include "server/engine/model_registry.h"
#include "server/memory/device_ledger.h"
#include "server/pipeline/device_runtime.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace tightfit {

// "m", packed as hf8, on the CPU.
class OneModelServer {
 public:
  // `ledger` may be null. Returns once the model is described.
  OneModelServer(const std::string& model_directory, int64_t host_cache_bytes,
                 DeviceLedger* ledger);

  Status Load();
  Status Unload();
  // Pixels of a small image in two steps; the same for the same sampler.
  Result<std::vector<uint8_t>> Draw(const std::string& sampler = "euler");

 private:
  DeviceRuntime runtime_;
  ModelRegistry registry_;
  std::unique_ptr<DeviceExecutor> executor_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_INTEGRATION_ONE_IMAGE_H_
