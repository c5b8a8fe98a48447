// tightfit-server: SDXL pipelines on LibTorch, served over gRPC.
#include "server/app/serve.h"
#include "server/device/cuda_device.h"
#include "server/device/open_device.h"
#include "server/pipeline/device_runtime.h"
#include "server/pipeline/model_loader.h"

namespace tightfit {
namespace {

class TorchBackend final : public ModelBackend {
 public:
  TorchBackend(const std::string& device, const BackendSettings& settings)
      : runtime_(device, settings.thread_count, settings.host_cache_bytes,
                 settings.profile_directory) {}

  void InitThread() override { runtime_.InitThread(); }
  void ExitThread() override { runtime_.ExitThread(); }
  Result<std::unique_ptr<DiffusionModel>> Load(const ModelSpec& spec,
                                               const LoadCallback& progress) override {
    return LoadDiffusionModel(runtime_, spec, progress);
  }
  void DropCaches() override { runtime_.DropCaches(); }

 private:
  DeviceRuntime runtime_;
};

Result<BackendDevice> OpenBackendDevice(const std::string& requested) {
  TF_ASSIGN_OR_RETURN(const OpenedDevice opened, OpenDevice(requested));
  BackendDevice device{
      .name = opened.name, .description = opened.description, .note = opened.why_no_cuda};
  if (opened.cuda_index >= 0) {
    device.read_memory = [index = opened.cuda_index] { return ReadCudaMemory(index); };
    device.probe = [index = opened.cuda_index] { return ProbeCudaDevice(index); };
  }
  return device;
}

}  // namespace
}  // namespace tightfit

int main(int argc, char** argv) {
  return tightfit::ServerMain(argc, argv,
                              {.libtorch_version = tightfit::LibTorchVersion(),
                               .describe = tightfit::DescribeDiffusionModel,
                               .open_device = tightfit::OpenBackendDevice,
                               .open = [](const tightfit::BackendDevice& device,
                                          const tightfit::BackendSettings& settings) {
                                 return std::make_unique<tightfit::TorchBackend>(device.name,
                                                                                 settings);
                               }});
}
