#include "server/device/cuda_device.h"

namespace tightfit {

Result<std::string> DescribeCudaDevice(int index) {
  return Status(StatusCode::kFailedPrecondition, "DEVICE_UNAVAILABLE",
                "cuda:" + std::to_string(index) +
                    " is not available: this build has no CUDA kernels; use device = \"cpu\", or "
                    "build where deploy/install.sh --cuda has put a CUDA compiler");
}

DedicatedMemory ReadCudaMemory(int) { return {}; }

Status ProbeCudaDevice(int) { return OkStatus(); }

Status DecodeOnCuda(const PackedLayout&, const uint8_t*, cuda::DecodedType, void*) {
  return Internal("could not decode a weight", "this build has no CUDA kernels");
}

Status EncodeOnCuda(const PackedLayout&, const uint16_t*, uint8_t*, void*) {
  return Internal("could not pack a weight", "this build has no CUDA kernels");
}

}  // namespace tightfit
