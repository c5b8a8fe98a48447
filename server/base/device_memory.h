// The memory of the device that models are on. On a CPU that is the host's: host_memory.h reads it.
#ifndef TIGHTFIT_SERVER_BASE_DEVICE_MEMORY_H_
#define TIGHTFIT_SERVER_BASE_DEVICE_MEMORY_H_

#include <cstdint>

namespace tightfit {

// Of a device with memory of its own, as its driver says.
struct DedicatedMemory {
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;  // to all processes
};

// What GetServerInfo and the metrics say of it.
struct DeviceMemory {
  int64_t total_bytes = 0;       // of the device; on a CPU the machine's
  int64_t used_bytes = 0;        // as the driver says; on a CPU the process's resident set
  int64_t attributed_bytes = 0;  // tensor bytes of all models
  int64_t host_cache_bytes = 0;  // beside them: weights that left it and stay in host memory
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_DEVICE_MEMORY_H_
