// From the files' contents to what gRPC listens with.
#ifndef TIGHTFIT_SERVER_RPC_SERVER_CREDENTIALS_H_
#define TIGHTFIT_SERVER_RPC_SERVER_CREDENTIALS_H_

#include "server/security/tls_files.h"

#include <grpcpp/security/server_credentials.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

namespace tightfit {

// The identity that the next handshake uses. Thread-safe.
class CurrentTlsIdentity {
 public:
  explicit CurrentTlsIdentity(TlsIdentity identity) : identity_(std::move(identity)) {}

  // Connections that stand go on as they are. Whether clients need certificates does not change.
  void Replace(TlsIdentity identity);
  // The identity, unless `*version` is already the newest; sets it.
  std::optional<TlsIdentity> Newer(int64_t* version) const;
  bool needs_client_certificates() const;

 private:
  mutable std::mutex mutex_;
  TlsIdentity identity_;
  int64_t version_ = 1;
};

// TLS 1.2 and 1.3, or plain text for nullptr. With a client CA, a client without a certificate that
// it signed is refused in the handshake. For one port of one server.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(
    std::shared_ptr<const CurrentTlsIdentity> identity);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_SERVER_CREDENTIALS_H_
