// What `tightfit pack` does: each function does what its options ask, and returns the exit code.
#ifndef TIGHTFIT_CLIENT_PACK_COMMANDS_H_
#define TIGHTFIT_CLIENT_PACK_COMMANDS_H_

#include "client/cli/interrupt_watcher.h"
#include "client/pack/command_line.h"

namespace tightfit::pack {

int Run(const PackOptions& options, const cli::InterruptWatcher& interrupts);
int Run(const UnpackOptions& options, const cli::InterruptWatcher& interrupts);
int Run(const VerifyOptions& options, const cli::InterruptWatcher& interrupts);
int Run(const CutOptions& options, const cli::InterruptWatcher& interrupts);
int Run(const JoinOptions& options, const cli::InterruptWatcher& interrupts);

}  // namespace tightfit::pack

#endif  // TIGHTFIT_CLIENT_PACK_COMMANDS_H_
