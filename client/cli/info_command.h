// `tightfit info`: its flags, its call of the server, what it prints.
#ifndef TIGHTFIT_CLIENT_CLI_INFO_COMMAND_H_
#define TIGHTFIT_CLIENT_CLI_INFO_COMMAND_H_

#include "client/cli/command_line.h"
#include "client/cli/interrupt_watcher.h"

namespace tightfit::cli {

// Runs `tightfit info` and returns its exit code.
int Run(const InfoOptions& options, const InterruptWatcher& interrupts);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_INFO_COMMAND_H_
