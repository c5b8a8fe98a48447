#include "server/device/open_device.h"

#include "server/device/cuda_device.h"
#include "server/device/run_torch.h"

#include <ATen/Context.h>
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <utility>

namespace tightfit {
namespace {

// Weights of all sizes come and go: blocks that grow leave no gaps between them. Read by LibTorch
// when its allocator starts; whoever has set it decides.
constexpr char kAllocatorVariable[] = "PYTORCH_ALLOC_CONF";
constexpr char kAllocatorSettings[] = "expandable_segments:True";

// The folder of LibTorch's own libraries, where those for CUDA lie too.
std::filesystem::path LibTorchFolder() {
  Dl_info info{};
  const auto* const symbol = reinterpret_cast<const void*>(&at::globalContext);
  if (dladdr(symbol, &info) == 0 || info.dli_fname == nullptr) return {};
  return std::filesystem::path(info.dli_fname).parent_path();
}

Status LoadCudaLibraries(const std::string& device) {
  const std::filesystem::path library = LibTorchFolder() / "libtorch_cuda.so";
  // Never closed: its kernels are registered with LibTorch for good.
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return OkStatus();
  return Status(StatusCode::kFailedPrecondition, "DEVICE_UNAVAILABLE",
                device +
                    " is not available: LibTorch's CUDA libraries are not installed; "
                    "deploy/install.sh --cuda installs them")
      .WithDetail(dlerror());
}

// Of "cuda:N"; the first of "cuda".
int IndexOf(const std::string& name) {
  const size_t colon = name.find(':');
  return colon == std::string::npos ? 0 : std::atoi(name.c_str() + colon + 1);
}

Result<OpenedDevice> OpenCuda(int index) {
  // The driver is asked first: it answers in milliseconds where there is none.
  TF_ASSIGN_OR_RETURN(std::string description, DescribeCudaDevice(index));
  const std::string name = "cuda:" + std::to_string(index);
  setenv(kAllocatorVariable, kAllocatorSettings, /*overwrite=*/0);
  TF_RETURN_IF_ERROR(LoadCudaLibraries(name));
  TF_RETURN_IF_ERROR(RunTorch("start CUDA", [] {
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    return OkStatus();
  }));
  if (ReadCudaMemory(index).total_bytes == 0) {
    return Status(StatusCode::kFailedPrecondition, "DEVICE_UNAVAILABLE",
                  name +
                      " is not available: it takes no further process; nvidia-smi tells who "
                      "uses it");
  }
  return OpenedDevice{.name = name, .description = std::move(description), .cuda_index = index};
}

}  // namespace

Result<OpenedDevice> OpenDevice(const std::string& requested) {
  if (requested == "cpu") return OpenedDevice{.name = "cpu"};
  if (requested != "auto") return OpenCuda(IndexOf(requested));
  Result<OpenedDevice> cuda = OpenCuda(0);
  if (cuda.ok()) return cuda;
  return OpenedDevice{.name = "cpu", .why_no_cuda = cuda.status().message()};
}

}  // namespace tightfit
