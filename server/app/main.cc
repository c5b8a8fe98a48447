// tightfit-server: SDXL pipelines on LibTorch, served over gRPC.
#include "server/app/serve.h"
#include "server/device/cuda_device.h"
#include "server/device/open_device.h"
#include "server/pipeline/sdxl_model.h"

namespace {

tightfit::Result<tightfit::BackendDevice> OpenBackendDevice(const std::string& requested) {
  TF_ASSIGN_OR_RETURN(const tightfit::OpenedDevice opened, tightfit::OpenDevice(requested));
  tightfit::BackendDevice device{
      .name = opened.name, .description = opened.description, .note = opened.why_no_cuda};
  if (opened.cuda_index >= 0) {
    device.read_memory = [index = opened.cuda_index] { return tightfit::ReadCudaMemory(index); };
    device.probe = [index = opened.cuda_index] { return tightfit::ProbeCudaDevice(index); };
  }
  return device;
}

}  // namespace

int main(int argc, char** argv) {
  tightfit::ModelBackend backend;
  backend.libtorch_version = tightfit::LibTorchVersion();
  backend.open_device = OpenBackendDevice;
  backend.init_process = tightfit::InitTorchProcess;
  backend.init_thread = tightfit::InitTorchThread;
  backend.exit_thread = tightfit::ExitTorchThread;
  backend.describe = tightfit::DescribeSdxlModel;
  backend.drop_caches = tightfit::DropTorchCaches;
  backend.load = tightfit::LoadSdxlModel;
  return tightfit::ServerMain(argc, argv, backend);
}
