// What the configuration says about who can reach the server, with the files it names read.
#ifndef TIGHTFIT_SERVER_CONFIG_CONFIG_SECURITY_H_
#define TIGHTFIT_SERVER_CONFIG_CONFIG_SECURITY_H_

#include "server/config/config.h"
#include "server/security/access_control.h"
#include "server/security/tls_files.h"

#include <optional>
#include <string>
#include <vector>

namespace tightfit {

struct ServerSecurity {
  std::optional<TlsIdentity> tls;  // nullopt: plain text
  AccessControl access;
  std::vector<std::string> warnings;  // one line each, for the log
};

// Reads and checks certificate, key, client CA and tokens, and refuses plain text beyond this
// machine unless allow_plaintext is set. Errors: INVALID_ARGUMENT `BAD_CONFIGURATION`, one line.
// REQUIRES: the address to listen on is valid.
Result<ServerSecurity> ReadServerSecurity(const ServerConfig& config, const ConfigOrigins& origins);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_CONFIG_CONFIG_SECURITY_H_
