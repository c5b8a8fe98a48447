// ServerInfo: what ServerService tells of this process, filled in by the composition root. Free of
// gRPC, LibTorch and kernels.
#ifndef TIGHTFIT_SERVER_BASE_SERVER_INFO_H_
#define TIGHTFIT_SERVER_BASE_SERVER_INFO_H_

#include "server/base/device_memory.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tightfit {

// One row of kernels/format.h.
struct WeightFormatSummary {
  std::string name;
  double bits_per_weight = 0.0;
  double max_value = 0.0;
};

struct ServerInfo {
  std::string version;           // "0.1.0"
  std::string build_commit;      // with "-dirty" where the tree was changed; empty outside git
  std::string libtorch_version;  // "2.11.0"
  std::chrono::system_clock::time_point start_time = std::chrono::system_clock::now();
  std::string device_name;         // "cpu", "cuda:0"
  std::string device_description;  // the processor or card, as its driver names it
  // Thread-safe; called once per GetServerInfo. Empty: all zero.
  std::function<DeviceMemory()> device_memory;

  // For GetCapabilities. Samplers of resident models are added where missing.
  std::vector<std::string> samplers;
  std::vector<WeightFormatSummary> formats;
  std::vector<std::string> scopes = {"attention", "linear", "linear+conv"};
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_SERVER_INFO_H_
