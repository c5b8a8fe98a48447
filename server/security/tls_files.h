// The server's certificate, its key, and whose client certificates count, read and checked as far
// as that goes without a client.
#ifndef TIGHTFIT_SERVER_SECURITY_TLS_FILES_H_
#define TIGHTFIT_SERVER_SECURITY_TLS_FILES_H_

#include "server/base/status.h"

#include <string>
#include <vector>

namespace tightfit {

struct TlsPaths {
  std::string certificate;  // PEM: the server's certificate, then those between it and a root
  std::string private_key;  // PEM, without a passphrase
  std::string client_ca;    // PEM; empty: clients need no certificate
};

// As PEM. Holds the private key: never for a log.
struct TlsIdentity {
  std::string certificate_chain;
  std::string private_key;
  std::string client_ca;
};

struct TlsFiles {
  TlsIdentity identity;
  // One line each for what does not stop a server: an expired certificate, a key that others read.
  std::vector<std::string> warnings;
  // The server's own certificate is expired, or not valid yet.
  bool is_out_of_date = false;
};

// The metadata key of an error under which it names the setting that it is about.
inline constexpr char kSettingMetadata[] = "setting";

// Errors: INVALID_ARGUMENT with one line that names the file, and metadata `setting`:
// `tls_certificate`, `tls_private_key` or `tls_client_ca`.
Result<TlsFiles> ReadTlsFiles(const TlsPaths& paths);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_SECURITY_TLS_FILES_H_
