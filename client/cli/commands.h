// The commands of `tightfit`: each does what its options ask of a server, and returns the exit
// code. main.cc chooses among them; each has a file of its own.
#ifndef TIGHTFIT_CLIENT_CLI_COMMANDS_H_
#define TIGHTFIT_CLIENT_CLI_COMMANDS_H_

#include "client/cli/command_line.h"
#include "client/cli/interrupt_watcher.h"
#include "client/cli/server_session.h"

namespace tightfit::cli {

int Run(const GenerateOptions& options, const InterruptWatcher& interrupts);
int Run(const InfoOptions& options, const InterruptWatcher& interrupts);
int Run(const ModelsOptions& options, const InterruptWatcher& interrupts);
// residency_commands.cc
int Run(const LoadOptions& options, const InterruptWatcher& interrupts);
int Run(const UnloadOptions& options, const InterruptWatcher& interrupts);
int Run(const UpdateOptions& options, const InterruptWatcher& interrupts);

// `generate --estimate`: what a request would take.
int RunEstimate(const GenerateOptions& options, ServerSession& session);

// `models --watch`. On a terminal one table, drawn anew at each change; elsewhere a line for each
// change, with --json one document a line. Until interrupted, which is how it is meant to end.
int WatchModels(const ModelsOptions& options, ServerSession& session);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_COMMANDS_H_
