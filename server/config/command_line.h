// The command line of tightfit-server: flags over the file of --config.
#ifndef TIGHTFIT_SERVER_CONFIG_COMMAND_LINE_H_
#define TIGHTFIT_SERVER_CONFIG_COMMAND_LINE_H_

#include "server/config/config.h"
#include "server/security/access_tokens.h"

#include <string>

namespace tightfit {

// What `token new` is asked to make.
struct TokenRequest {
  AccessRole role = AccessRole::kUser;
  std::string name;  // IsHolderName
  // File to append the line to, made readable for its owner alone where it is missing; empty: the
  // line is shown.
  std::string append_to;
};

struct CommandLine {
  enum class Action {
    kServe,
    kCheck,  // --check: the configuration is valid
    kHelp,   // `help` holds the text
    kVersion,
    kNewToken,  // `token new`: `new_token` says which
  };
  Action action = Action::kServe;
  ServerConfig config;    // validated; of kServe and kCheck
  ConfigOrigins origins;  // of its settings
  std::string help;
  TokenRequest new_token;
};

// Reads flags and file, and validates the whole. Errors: INVALID_ARGUMENT with one line.
Result<CommandLine> ReadCommandLine(int argc, const char* const* argv);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_CONFIG_COMMAND_LINE_H_
