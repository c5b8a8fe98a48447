#include "server/device/cuda_errors.h"

#include "server/base/device_loss.h"

#include <string>

namespace tightfit {
namespace {

bool Tells(std::string_view exception_text, const FatalCudaError& error) {
  if (exception_text.find(error.name) != std::string_view::npos) return true;
  for (const std::string_view start : {"CUDA error: ", "CUDA driver error: "}) {
    const std::string line = std::string(start) + std::string(error.text);
    if (exception_text.find(line) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

std::optional<Status> DeviceLossOf(int cuda_error_code, std::string_view detail) {
  for (const FatalCudaError& error : kFatalCudaErrors) {
    if (error.code == cuda_error_code) {
      return DeviceLost("CUDA error " + std::to_string(error.code) + ", " +
                        std::string(error.name) + ": " + std::string(detail));
    }
  }
  return std::nullopt;
}

std::optional<Status> DeviceLossIn(std::string_view exception_text) {
  for (const FatalCudaError& error : kFatalCudaErrors) {
    if (Tells(exception_text, error)) return DeviceLossOf(error.code, exception_text);
  }
  return std::nullopt;
}

bool IsCudaOutOfMemoryText(std::string_view exception_text) {
  for (const std::string_view text :
       {"CUDA out of memory", "CUDA error: out of memory", "CUDA driver error: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "DefaultCPUAllocator: can't allocate memory"}) {
    if (exception_text.find(text) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace tightfit
