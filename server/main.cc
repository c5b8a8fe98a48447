// tightfit-server: SDXL pipelines on LibTorch, served over gRPC.
#include "server/pipeline/sdxl_model.h"
#include "server/serve.h"

int main(int argc, char** argv) {
  tightfit::ModelBackend backend;
  backend.libtorch_version = tightfit::LibTorchVersion();
  backend.init_process = tightfit::InitTorchProcess;
  backend.init_thread = tightfit::InitTorchThread;
  backend.describe = tightfit::DescribeSdxlModel;
  backend.drop_caches = tightfit::DropTorchCaches;
  backend.load = tightfit::LoadSdxlModel;
  return tightfit::ServerMain(argc, argv, backend);
}
