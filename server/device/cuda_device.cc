#include "server/device/cuda_device.h"

#include "kernels/codec_cuda.h"
#include "server/base/device_loss.h"
#include "server/device/cuda_errors.h"

#include <cuda_runtime_api.h>

#include <optional>
#include <string>

namespace tightfit {
namespace {

// The oldest architecture of TIGHTFIT_CUDA_ARCHITECTURES.
constexpr int kOldestMajor = 8;

Status Unavailable(int index, const std::string& why) {
  return {StatusCode::kFailedPrecondition, "DEVICE_UNAVAILABLE",
          "cuda:" + std::to_string(index) + " is not available: " + why +
              "; device = \"cpu\" computes without it"};
}

// An older error that nobody has asked for is not taken for that of `launch`.
template <typename Launches>
Status Launch(const char* failure, const Launches& launch) {
  if (const cudaError_t older = cudaGetLastError(); older != cudaSuccess) {
    if (std::optional<Status> loss = DeviceLossOf(older, cudaGetErrorName(older))) {
      return *std::move(loss);
    }
  }
  const cudaError_t error = launch();
  if (error == cudaSuccess) return OkStatus();
  const char* const name = cudaGetErrorName(error);
  if (std::optional<Status> loss = DeviceLossOf(error, name)) return *std::move(loss);
  if (error == cudaErrorMemoryAllocation) return Internal(failure, "CUDA error: out of memory");
  return Internal(failure, name);
}

}  // namespace

Result<std::string> DescribeCudaDevice(int index) {
  int driver_version = 0;
  if (cudaDriverGetVersion(&driver_version) == cudaSuccess && driver_version == 0) {
    return Unavailable(index, "this machine has no NVIDIA driver");
  }
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    return Unavailable(index, cudaGetErrorString(error));
  }
  if (index >= count) {
    return Unavailable(index, "this machine has " + std::to_string(count) + " CUDA device" +
                                  (count == 1 ? "" : "s"));
  }
  cudaDeviceProp properties{};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, index); error != cudaSuccess) {
    return Unavailable(index, cudaGetErrorString(error));
  }
  const std::string capability =
      std::to_string(properties.major) + "." + std::to_string(properties.minor);
  if (properties.major < kOldestMajor) {
    return Unavailable(index, std::string(properties.name) + " has compute capability " +
                                  capability + ", and the kernels need " +
                                  std::to_string(kOldestMajor) + ".0");
  }
  return std::string(properties.name) + " (compute capability " + capability + ")";
}

DedicatedMemory ReadCudaMemory(int index) {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  if (cudaSetDevice(index) != cudaSuccess ||
      cudaMemGetInfo(&free_bytes, &total_bytes) != cudaSuccess) {
    return {};
  }
  return {static_cast<int64_t>(total_bytes), static_cast<int64_t>(free_bytes)};
}

Status ProbeCudaDevice(int index) {
  constexpr unsigned char kPattern = 0xa5;
  static_cast<void>(cudaGetLastError());  // what came before was told; what lasts comes up again
  void* bytes = nullptr;
  unsigned char read = 0;
  cudaError_t error = cudaSetDevice(index);
  if (error == cudaSuccess) error = cudaDeviceSynchronize();
  if (error == cudaSuccess) error = cudaMalloc(&bytes, sizeof(read));
  if (error == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    return OkStatus();  // it answers
  }
  if (error == cudaSuccess) error = cudaMemset(bytes, kPattern, sizeof(read));
  if (error == cudaSuccess) error = cudaMemcpy(&read, bytes, sizeof(read), cudaMemcpyDeviceToHost);
  if (bytes != nullptr) static_cast<void>(cudaFree(bytes));
  if (error == cudaSuccess && read == kPattern) return OkStatus();
  return DeviceLost(error == cudaSuccess
                        ? std::string("the device does not keep what is written to it")
                        : "the device gives no sign of life: CUDA error " + std::to_string(error) +
                              ", " + cudaGetErrorName(error));
}

Status DecodeOnCuda(const PackedLayout& layout, const uint8_t* packed, cuda::DecodedType type,
                    void* out) {
  const cuda::DecodeJob job{.layout = layout, .packed = packed, .out = out};
  return Launch("could not decode a weight", [&] {
    return cuda::DecodeTensors({&job, 1}, type, /*stream=*/nullptr);
  });
}

Status EncodeOnCuda(const PackedLayout& layout, const uint16_t* fp16, uint8_t* packed,
                    void* workspace) {
  return Launch("could not pack a weight", [&] {
    return cuda::EncodeTensor(layout, fp16, packed, workspace, /*stream=*/nullptr);
  });
}

}  // namespace tightfit
