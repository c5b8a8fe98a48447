// How failures are told: lines on stderr for people, an exit code for scripts.
#ifndef TIGHTFIT_CLIENT_CLI_ERROR_REPORT_H_
#define TIGHTFIT_CLIENT_CLI_ERROR_REPORT_H_

#include "client/cli/terminal.h"
#include "server/base/status.h"

#include <string>

namespace tightfit::cli {

// One line for each bad field, else one for the failure:
//   error: --width: 70 is not a multiple of 4
//   error: no model has the name "appel" [MODEL_NOT_FOUND]
std::string ErrorLines(const Status& status, const TextStyle& style);

// kExitCannotConnect, kExitUsage for credentials that cannot be sent, or kExitFailed. `status` is
// not OK.
int ExitCodeOf(const Status& status);

// "INVALID_ARGUMENT"
std::string CodeName(StatusCode code);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_ERROR_REPORT_H_
