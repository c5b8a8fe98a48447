// tightfit-server: SDXL pipelines on LibTorch, served over gRPC.
#include "server/pipeline/sdxl_model.h"
#include "server/serve.h"

#include <malloc.h>

int main(int argc, char** argv) {
  // Each weight of a megabyte and more in its own mapping: what is freed while weights are packed
  // goes back to the system instead of staying in glibc's heap.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);

  tightfit::ModelBackend backend;
  backend.libtorch_version = tightfit::LibTorchVersion();
  backend.init_process = tightfit::InitTorchProcess;
  backend.init_thread = tightfit::InitTorchThread;
  backend.describe = tightfit::DescribeSdxlModel;
  backend.drop_caches = tightfit::DropTorchCaches;
  backend.load = tightfit::LoadSdxlModel;
  return tightfit::ServerMain(argc, argv, backend);
}
