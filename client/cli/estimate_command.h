// `tightfit generate --estimate`: what a request would take.
#ifndef TIGHTFIT_CLIENT_CLI_ESTIMATE_COMMAND_H_
#define TIGHTFIT_CLIENT_CLI_ESTIMATE_COMMAND_H_

#include "client/cli/command_line.h"
#include "client/cli/server_session.h"

namespace tightfit::cli {

// Returns the exit code.
int RunEstimate(const GenerateOptions& options, ServerSession& session);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_ESTIMATE_COMMAND_H_
