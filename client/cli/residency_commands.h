// `tightfit load`, `unload`, `update`: which models are on the device.
#ifndef TIGHTFIT_CLIENT_CLI_RESIDENCY_COMMANDS_H_
#define TIGHTFIT_CLIENT_CLI_RESIDENCY_COMMANDS_H_

#include "client/cli/command_line.h"
#include "client/cli/interrupt_watcher.h"

namespace tightfit::cli {

// Each returns the exit code.
int Run(const LoadOptions& options, const InterruptWatcher& interrupts);
int Run(const UnloadOptions& options, const InterruptWatcher& interrupts);
int Run(const UpdateOptions& options, const InterruptWatcher& interrupts);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_RESIDENCY_COMMANDS_H_
