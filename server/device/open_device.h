// OpenDevice: from the name of a device in the configuration to one that can be computed on. Free
// of LibTorch's headers.
#ifndef TIGHTFIT_SERVER_DEVICE_OPEN_DEVICE_H_
#define TIGHTFIT_SERVER_DEVICE_OPEN_DEVICE_H_

#include "server/base/status.h"

#include <string>

namespace tightfit {

struct OpenedDevice {
  std::string name;         // "cpu", "cuda:0": what at::Device reads
  std::string description;  // "NVIDIA H100 80GB HBM3 (compute capability 9.0)"; "" of a CPU
  int cuda_index = -1;      // -1: a CPU
  std::string why_no_cuda;  // where "auto" took the CPU
};

// Makes a device ready for this process. `requested`: "cpu", "cuda:N", or "auto", which is cuda:0
// where that is available, else the CPU. For CUDA it loads LibTorch's CUDA libraries from beside
// LibTorch, half a second: a server on a CPU needs none of them. Call before anything else of
// LibTorch. Errors: FAILED_PRECONDITION `DEVICE_UNAVAILABLE`, with what is missing.
Result<OpenedDevice> OpenDevice(const std::string& requested);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_DEVICE_OPEN_DEVICE_H_
