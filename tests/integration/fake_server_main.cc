// fake_model_server: tightfit-server with the fake diffusion model instead of LibTorch, for tests
// of the process. Tests steer it through the environment:
//   FAKE_FAILING_MODEL    name of a model that cannot be loaded
//   FAKE_INIT_EXCEPTION   text of an exception that the libraries throw at the start
//   FAKE_LOAD_HOLD        while this file exists, loading does not go on
//   FAKE_STEP_HOLD        while this file exists, a denoising step does not come back
//   FAKE_STEP_MILLISECONDS  how long a step takes
//   FAKE_LEAVE_HOLD       while this file exists, a model does not get off its device
//   FAKE_PROBE_LOST       once this file exists, the device gives no sign of life
//   FAKE_NOISY            where set, images are noise, which PNG cannot compress
//   FAKE_SILENT_PORT      while this file exists, the server's calls of its own port get no answer
//   FAKE_WEIGHT_MIB       what the weights of every model take, told by its directory; the only
//   module
//                         that may be excluded is conv_in then
//   FAKE_CUDA_ERROR       once this file exists, a denoising step fails with the code of CUDA in it
#include "server/app/serve.h"
#include "server/base/device_loss.h"
#include "server/device/cuda_errors.h"
#include "server/memory/memory_accounts.h"
#include "tests/support/fake_diffusion_model.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

namespace tightfit {
namespace {

std::string Environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

void WaitWhileExists(const std::string& path) {
  while (!path.empty() && std::filesystem::exists(path)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

// As RunTorch does with the error in the file.
Status CudaErrorIn(const std::string& path) {
  int code = 0;
  if (path.empty() || !(std::ifstream(path) >> code)) return OkStatus();
  return DeviceLossOf(code, "fake").value_or(Internal("could not run the UNet"));
}

struct StepControls {
  std::string hold = Environment("FAKE_STEP_HOLD");
  std::string milliseconds = Environment("FAKE_STEP_MILLISECONDS");
  std::string cuda_error = Environment("FAKE_CUDA_ERROR");
  std::chrono::milliseconds pause{milliseconds.empty() ? 0 : std::stoi(milliseconds)};
};

Status OnCall(const std::string& call, const StepControls& step) {
  if (call != "step") return OkStatus();
  WaitWhileExists(step.hold);
  if (step.pause.count() > 0) std::this_thread::sleep_for(step.pause);
  return CudaErrorIn(step.cuda_error);
}

// Charges the accounts as the allocator does under LibTorch.
void ChargeWeights(const ModelDescription& description) {
  for (const ComponentDescription& component : description.components) {
    MemoryAccounts& accounts = MemoryAccounts::Instance();
    accounts.Get(description.name, component.name, MemoryPurpose::kWeights)
        ->Charge(component.weight_bytes);
    MemoryAccount* const scratch =
        accounts.Get(description.name, component.name, MemoryPurpose::kScratch);
    scratch->Charge(4096);
    scratch->Credit(4096);
  }
}

class FakeBackend final : public ModelBackend {
 public:
  FakeBackend() {
    if (const std::string text = Environment("FAKE_INIT_EXCEPTION"); !text.empty()) {
      throw std::runtime_error(text);
    }
    auto controls = std::make_shared<FakeModelControls>();
    controls->noisy = !Environment("FAKE_NOISY").empty();
    controls->on_leave = [hold = Environment("FAKE_LEAVE_HOLD")] { WaitWhileExists(hold); };
    controls->on_call = [step = StepControls()](const char* call) { return OnCall(call, step); };
    load_ =
        FakeLoader(controls, Environment("FAKE_FAILING_MODEL"),
                   Status(StatusCode::kDataLoss, "CHECKSUM_MISMATCH", "unet.safetensors is damaged")
                       .WithDetail("/secret/path"));
  }

  Result<std::unique_ptr<DiffusionModel>> Load(const ModelSpec& spec,
                                               const LoadCallback& progress) override {
    progress({"unet", 1, 2});
    WaitWhileExists(hold_);
    Result<std::unique_ptr<DiffusionModel>> model = load_(spec, progress);
    if (model.ok()) ChargeWeights((*model)->description());
    return model;
  }

 private:
  const std::string hold_ = Environment("FAKE_LOAD_HOLD");
  ModelLoader load_;
};

BackendFactory FakeBackends() {
  BackendFactory backends;
  backends.libtorch_version = "none";
  if (const std::string lost = Environment("FAKE_PROBE_LOST"); !lost.empty()) {
    backends.open_device = [lost](const std::string&) {
      BackendDevice device;
      device.probe = [lost] {
        return std::filesystem::exists(lost) ? DeviceLost("fake") : OkStatus();
      };
      return Result<BackendDevice>(std::move(device));
    };
  }
  if (const std::string mib = Environment("FAKE_WEIGHT_MIB"); !mib.empty()) {
    backends.describe = [bytes = std::stoll(mib) << 20](
                            const ModelSpec& spec, const std::string&) -> Result<ModelDescription> {
      for (const std::string& module : spec.exclude) {
        if (module != "conv_in") return InvalidArgument("exclude: no module \"" + module + "\"");
      }
      ModelDescription description = FakeDescription(spec.name);
      description.memory.weights = {{.component = "unet", .content_key = "unet", .bytes = bytes}};
      return description;
    };
  }
  backends.open = [](const BackendDevice&, const BackendSettings&) {
    return std::make_unique<FakeBackend>();
  };
  return backends;
}

ServeOverrides FakeOverrides() {
  ServeOverrides overrides;
  const std::string silent = Environment("FAKE_SILENT_PORT");
  if (silent.empty()) return overrides;
  overrides.ask_own_port =
      [silent](std::chrono::milliseconds patience,
               const std::function<Status(std::chrono::milliseconds)>& ask) -> Status {
    if (!std::filesystem::exists(silent)) return ask(patience);
    std::this_thread::sleep_for(patience);
    return {StatusCode::kUnavailable, "NO_ANSWER", "nothing came"};
  };
  return overrides;
}

}  // namespace
}  // namespace tightfit

int main(int argc, char** argv) {
  return tightfit::ServerMain(argc, argv, tightfit::FakeBackends(), tightfit::FakeOverrides());
}
