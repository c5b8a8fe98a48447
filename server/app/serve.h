// The composition root as a function: configuration to exit code, with whatever makes the models.
// tightfit-server gives it LibTorch; tests give it a fake.
#ifndef TIGHTFIT_SERVER_APP_SERVE_H_
#define TIGHTFIT_SERVER_APP_SERVE_H_

#include "server/app/model_backend.h"
#include "server/base/status.h"
#include "server/config/config.h"

#include <chrono>
#include <functional>

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

// What tests put in place of the server's own parts.
struct ServeOverrides {
  // Stands before the call of the own port that it is given (server/app/self_check.h); empty:
  // nothing does.
  std::function<Status(std::chrono::milliseconds patience,
                       const std::function<Status(std::chrono::milliseconds)>& ask)>
      ask_own_port;
};

// Reads the command line and does what it says. Call from main before any thread exists.
int ServerMain(int argc, const char* const* argv, const BackendFactory& backends,
               const ServeOverrides& overrides = {});

// Serves until a signal that stops it (server/app/process_events.h):
// 1. binds both addresses and writes the address file; health is NOT_SERVING;
// 2. reads what every model directory says and loads the models with `preload`; then SERVING. If
//    every model has failed: exit 78, each with its reason in the log;
// 3. at a signal: NOT_SERVING, no new requests, those that run may finish within drain_timeout, in
//    which time that the process is stopped does not count; then they are cancelled. A second
//    signal cancels them at once. A model call that does not come back within two seconds more is
//    abandoned with the process;
// 4. when the device is lost, or a call of a model makes no progress within `watchdog`, or the own
//    port answers nothing within `self_check`: NOT_SERVING, requests end with DeviceLost, exit 71.
// At SIGHUP, and when their files change, certificates and tokens are read again.
int RunServer(const ServerConfig& config, const BackendFactory& backends,
              const ServeOverrides& overrides = {});

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_SERVE_H_
