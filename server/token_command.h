// `tightfit-server token new`: a token for its holder, and the line that makes the server take it.
#ifndef TIGHTFIT_SERVER_TOKEN_COMMAND_H_
#define TIGHTFIT_SERVER_TOKEN_COMMAND_H_

#include "server/base/status.h"
#include "server/security/access_tokens.h"

#include <string>

namespace tightfit {

struct TokenRequest {
  AccessRole role = AccessRole::kUser;
  std::string name;  // IsHolderName
  // File to append the line to, made readable for its owner alone where it is missing; empty: the
  // line is shown.
  std::string append_to;
};

// Writes the token to standard output, once: nothing keeps it. Without a file the line goes to
// standard error, so that `token new ... > FILE` holds the token alone. Errors: INVALID_ARGUMENT
// with one line: if the token cannot be written no line admits it; if the file cannot be opened,
// nothing is written.
Status RunNewToken(const TokenRequest& request);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_TOKEN_COMMAND_H_
