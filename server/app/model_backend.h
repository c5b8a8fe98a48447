// ModelBackend: what makes the models of one device, seen from the composition root.
// tightfit-server gives it LibTorch; tests give it a fake.
#ifndef TIGHTFIT_SERVER_APP_MODEL_BACKEND_H_
#define TIGHTFIT_SERVER_APP_MODEL_BACKEND_H_

#include "server/base/device_memory.h"
#include "server/base/status.h"
#include "server/engine/diffusion_model.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace tightfit {

struct BackendDevice {
  std::string name = "cpu";  // "cpu", "cuda:0"
  std::string description;   // of a GPU, its name
  std::string note;          // for the log: why "auto" means this one
  // Reads its memory as it is now; any thread. Empty: the host's memory is the device's.
  std::function<DedicatedMemory()> read_memory;
  // Asks it for a sign of life, on the executor's thread: OK or DeviceLost. Empty: it cannot be
  // lost.
  std::function<Status()> probe;
};

// Called on the executor's thread, but for construction and destruction: before that thread starts
// and after it has ended. Outlives the models.
class ModelBackend {
 public:
  virtual ~ModelBackend() = default;

  // First and last call on the executor's thread.
  virtual void InitThread() {}
  virtual void ExitThread() {}
  virtual Result<std::unique_ptr<DiffusionModel>> Load(const ModelSpec& spec,
                                                       const LoadCallback& progress) = 0;
  // Gives cached device memory back.
  virtual void DropCaches() {}
};

struct BackendSettings {
  int thread_count = 0;           // intra-op threads; 0: all cores
  int64_t host_cache_bytes = 0;   // weights that may stay in host memory when models leave
  std::string profile_directory;  // for measured profiles; "": none are kept
};

// The two steps to a backend: the device's memory decides its settings.
struct BackendFactory {
  std::string libtorch_version;
  // As ModelDescriber, for `device`, which need not be there: it reads the model directory alone.
  // Empty: a model is known only once it was loaded.
  std::function<Result<ModelDescription>(const ModelSpec& spec, const std::string& device)>
      describe;
  // `requested`: "auto", "cpu", "cuda:N". Empty: there is only the CPU. Errors: what is missing,
  // and what to do.
  std::function<Result<BackendDevice>(const std::string& requested)> open_device;
  // Before any other thread exists: it changes settings of the process.
  std::function<std::unique_ptr<ModelBackend>(const BackendDevice& device,
                                              const BackendSettings& settings)>
      open;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_MODEL_BACKEND_H_
