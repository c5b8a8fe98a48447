// `tightfit generate`: its flags, its call of the server, what it prints.
#ifndef TIGHTFIT_CLIENT_CLI_GENERATE_COMMAND_H_
#define TIGHTFIT_CLIENT_CLI_GENERATE_COMMAND_H_

#include "client/cli/command_line.h"
#include "client/cli/interrupt_watcher.h"

namespace tightfit::cli {

// Runs `tightfit generate` and returns its exit code.
int Run(const GenerateOptions& options, const InterruptWatcher& interrupts);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_GENERATE_COMMAND_H_
