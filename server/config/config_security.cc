#include "server/config/config_security.h"

#include "server/base/listen_address.h"
#include "server/security/credential_file.h"

#include <utility>

namespace tightfit {
namespace {

Status Refused(const ConfigOrigins& origins, const std::string& key, const std::string& why) {
  const auto found = origins.find(key);
  return BadConfiguration((found == origins.end() ? key : found->second) + ": " + why);
}

Status CheckPairs(const ServerConfig& config, const ConfigOrigins& origins) {
  const bool has_certificate = !config.tls_certificate.empty();
  const bool has_key = !config.tls_private_key.empty();
  if (has_certificate && !has_key) {
    return Refused(origins, "tls_certificate", "needs its key, tls_private_key, too");
  }
  if (has_key && !has_certificate) {
    return Refused(origins, "tls_private_key", "needs its certificate, tls_certificate, too");
  }
  if (!config.tls_client_ca.empty() && !has_certificate) {
    return Refused(origins, "tls_client_ca", "needs TLS: tls_certificate and tls_private_key, too");
  }
  return OkStatus();
}

Status ReadTls(const ServerConfig& config, const ConfigOrigins& origins, ServerSecurity* security) {
  if (config.tls_certificate.empty()) return OkStatus();
  Result<TlsFiles> files =
      ReadTlsFiles({config.tls_certificate, config.tls_private_key, config.tls_client_ca});
  if (!files.ok()) {
    const Status status = files.status();
    const auto setting = status.metadata().find(kSettingMetadata);
    return Refused(origins,
                   setting == status.metadata().end() ? "tls_certificate" : setting->second,
                   status.ForLog());
  }
  security->tls = std::move(files->identity);
  security->warnings = std::move(files->warnings);
  return OkStatus();
}

Status ReadTokens(const ServerConfig& config, const ConfigOrigins& origins,
                  ServerSecurity* security) {
  if (config.tokens_file.empty()) return OkStatus();
  const Result<CredentialFile> file = ReadCredentialFile(config.tokens_file);
  if (!file.ok()) return Refused(origins, "tokens_file", file.status().message());
  Result<AccessTokens> tokens = AccessTokens::Parse(file->text);
  if (!tokens.ok()) {
    return Refused(origins, "tokens_file", config.tokens_file + ": " + tokens.status().message());
  }
  security->access = AccessControl(std::move(tokens).value());
  if (file->writable_by_others) {
    security->warnings.push_back(config.tokens_file +
                                 ": every user of this machine can add tokens to it; chmod o= it");
  } else if (file->readable_by_others) {
    security->warnings.push_back(
        config.tokens_file + ": every user of this machine can read who has a token; chmod o= it");
  }
  return OkStatus();
}

Status CheckPlaintext(const ServerConfig& config, const ConfigOrigins& origins,
                      ServerSecurity* security) {
  const Result<ListenAddress> listen = ParseListenAddress(config.listen);
  if (!listen.ok() || listen->is_local() || security->tls.has_value()) return OkStatus();
  if (!config.allow_plaintext) {
    return Refused(origins, "listen",
                   config.listen +
                       " can be reached from other machines, in plain text; give tls_certificate "
                       "and tls_private_key, or --allow-plaintext where the network itself is "
                       "trusted");
  }
  security->warnings.push_back(
      config.listen +
      ": this address can be reached from other machines in plain text: there is "
      "no TLS" +
      (security->access.has_tokens()
           ? ", and whoever sees the traffic can take the tokens and use them"
           : " and no authentication, so whoever reaches it may do everything"));
  return OkStatus();
}

}  // namespace

Result<ServerSecurity> ReadServerSecurity(const ServerConfig& config,
                                          const ConfigOrigins& origins) {
  ServerSecurity security;
  TF_RETURN_IF_ERROR(CheckPairs(config, origins));
  TF_RETURN_IF_ERROR(ReadTls(config, origins, &security));
  TF_RETURN_IF_ERROR(ReadTokens(config, origins, &security));
  TF_RETURN_IF_ERROR(CheckPlaintext(config, origins, &security));
  return security;
}

}  // namespace tightfit
