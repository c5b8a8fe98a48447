// The composition root as a function: configuration to exit code, with whatever makes the models.
// tightfit-server gives it LibTorch; tests give it a fake.
#ifndef TIGHTFIT_SERVER_SERVE_H_
#define TIGHTFIT_SERVER_SERVE_H_

#include "server/base/own_memory.h"
#include "server/base/status.h"
#include "server/config.h"
#include "server/engine/diffusion_model.h"

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace tightfit {

// As sysexits.h has them, and three of our own.
enum ExitCode : int {
  kExitDrained = 0,
  kExitInternal = 70,
  // The device is lost, a call of a model hangs, or the port is silent: start the process anew.
  kExitDevice = 71,
  kExitDrainTimeout = 72,   // requests were cut: by the timeout or by a second signal
  kExitConfiguration = 78,  // also: an address in use, no model could be loaded
};

struct BackendDevice {
  std::string name = "cpu";  // "cpu", "cuda:0"
  std::string description;   // of a GPU, its name
  std::string note;          // for the log: why "auto" means this one
  // Reads its memory as it is now; any thread. Empty: the host's memory is the device's.
  std::function<OwnMemory()> read_memory;
  // Asks it for a sign of life, on the executor's thread: OK or DeviceLost. Empty: it cannot be
  // lost.
  std::function<Status()> probe;
};

// What makes models.
struct ModelBackend {
  std::string libtorch_version;
  // Makes the device of the configuration ("auto", "cpu", "cuda:N") ready, before anything else is
  // called. Empty: there is only the CPU. Errors: what is missing, and what to do.
  std::function<Result<BackendDevice>(const std::string& requested)> open_device;
  // Settings of the process, before any model exists. Of the weights that leave the device so many
  // bytes may stay in host memory.
  std::function<void(const std::string& device, int thread_count, int64_t host_cache_bytes)>
      init_process;
  // First call on the executor's thread.
  std::function<void(const std::string& device)> init_thread;
  // Last call there but for the models that go after it. May be empty.
  std::function<void()> exit_thread;
  // As ModelDescriber; may be empty: then a model is known only once it was loaded.
  std::function<Result<ModelDescription>(const ModelSpec& spec, const std::string& device)>
      describe;
  // Gives cached device memory back. May be empty.
  std::function<void()> drop_caches;
  // As ModelLoader, on `device`: the opened one's name.
  std::function<Result<std::unique_ptr<DiffusionModel>>(
      const ModelSpec& spec, const std::string& device, const LoadCallback& progress)>
      load;
};

// What tests put in place of the server's own parts.
struct ServeOverrides {
  // Stands before the call of the own port that it is given (server/self_check.h); empty: nothing
  // does.
  std::function<Status(std::chrono::milliseconds patience,
                       const std::function<Status(std::chrono::milliseconds)>& ask)>
      ask_own_port;
};

// Reads the command line and does what it says. Call from main before any thread exists.
int ServerMain(int argc, const char* const* argv, const ModelBackend& backend,
               const ServeOverrides& overrides = {});

// Serves until a signal that stops it (server/process_events.h):
// 1. binds both addresses and writes the address file; health is NOT_SERVING;
// 2. reads what every model directory says and loads the models with `preload`; then SERVING. If
//    every model has failed: exit 78, each with its reason in the log;
// 3. at a signal: NOT_SERVING, no new requests, those that run may finish within drain_timeout
// (time
//    in which the process is stopped does not count), then they are cancelled; a second signal
//    cancels them at once. A model call that does not come back within two seconds more is
//    abandoned with the process;
// 4. when the device is lost, or a call of a model makes no progress within `watchdog`, or the own
//    port answers nothing within `self_check`: NOT_SERVING, requests end with DeviceLost, exit 71.
// At SIGHUP, and when their files change, certificates and tokens are read again.
int RunServer(const ServerConfig& config, const ModelBackend& backend,
              const ServeOverrides& overrides = {});

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_SERVE_H_
