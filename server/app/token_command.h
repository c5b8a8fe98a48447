// `tightfit-server token new`: a token for its holder, and the line that makes the server take it.
#ifndef TIGHTFIT_SERVER_APP_TOKEN_COMMAND_H_
#define TIGHTFIT_SERVER_APP_TOKEN_COMMAND_H_

#include "server/base/status.h"
#include "server/config/command_line.h"

namespace tightfit {

// Writes the token to standard output, once: nothing keeps it. Without a file the line goes to
// standard error, so that `token new ... > FILE` holds the token alone. Errors: INVALID_ARGUMENT
// with one line: if the token cannot be written no line admits it; if the file cannot be opened,
// nothing is written.
Status RunNewToken(const TokenRequest& request);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_TOKEN_COMMAND_H_
