// From the files' contents to what gRPC listens with.
#ifndef TIGHTFIT_SERVER_RPC_SERVER_CREDENTIALS_H_
#define TIGHTFIT_SERVER_RPC_SERVER_CREDENTIALS_H_

#include "server/security/tls_files.h"

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <optional>

namespace tightfit {

// TLS 1.2 and 1.3, or plain text for nullopt. With a client CA, a client without a certificate that
// it signed is refused in the handshake.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(
    const std::optional<TlsIdentity>& tls);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_SERVER_CREDENTIALS_H_
