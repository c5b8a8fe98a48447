// The flags that say how the server is reached, who vouches for it, and who asks.
#ifndef TIGHTFIT_CLIENT_CLI_SECURITY_FLAGS_H_
#define TIGHTFIT_CLIENT_CLI_SECURITY_FLAGS_H_

#include "client/cli/command_line.h"

#include <CLI/CLI.hpp>

#include <string>
#include <string_view>

namespace tightfit::cli {

// A server named so is reached with TLS.
inline constexpr std::string_view kTlsScheme = "https://";

class SecurityFlags {
 public:
  void AddTo(CLI::App* command);

  // Reads the files. `server` as it was given. Throws CLI::ValidationError.
  void ApplyTo(const std::string& server, SharedOptions* options) const;

 private:
  std::string ca_file_;
  std::string certificate_file_;
  std::string key_file_;
  std::string token_file_;
  bool allow_plaintext_ = false;
};

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_SECURITY_FLAGS_H_
