// `tightfit models --watch`: a live table of models, states and bytes.
#ifndef TIGHTFIT_CLIENT_CLI_WATCH_MODELS_H_
#define TIGHTFIT_CLIENT_CLI_WATCH_MODELS_H_

#include "client/cli/command_line.h"
#include "client/cli/server_session.h"

namespace tightfit::cli {

// On a terminal one table, drawn anew at each change; elsewhere a line for each change, with --json
// one document a line. Until interrupted, which is how it is meant to end. Returns the exit code.
int WatchModels(const ModelsOptions& options, ServerSession& session);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_WATCH_MODELS_H_
