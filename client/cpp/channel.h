// The connection to a server: its encryption, and who may see a token.
#ifndef TIGHTFIT_CLIENT_CPP_CHANNEL_H_
#define TIGHTFIT_CLIENT_CPP_CHANNEL_H_

#include "client/cpp/generation_client.h"
#include "server/base/status.h"

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <string_view>

namespace tightfit::client {

std::shared_ptr<grpc::Channel> CreateChannel(const ClientOptions& options);

// Of a gRPC target: nobody outside this machine sees what is sent there.
bool IsThisMachine(std::string_view server);

// INVALID_ARGUMENT/BAD_CREDENTIALS where the options contradict each other, hold a token that no
// header can carry, or would show the token to others on the way.
Status CheckCredentials(const ClientOptions& options);

// Why there is no connection, in the user's words: UNAVAILABLE with CANNOT_CONNECT, NOT_GRPC or
// TLS_FAILED; OK where that is not known.
struct ConnectFailure {
  Status status;
  // Trying again changes nothing. Else it may also be a server that is just starting or going away.
  bool is_certain = false;
  bool is_absence = false;  // nobody listens there
};
// From `grpc_message`, gRPC's reason for not connecting.
ConnectFailure ExplainConnectFailure(std::string_view grpc_message, const ClientOptions& options);

// The part of it that is about encryption: UNAVAILABLE/TLS_FAILED, else OK.
struct TlsFailure {
  Status status;
  // Trying again changes nothing. Else it may also be a server that is just starting or going away.
  bool is_certain = false;
};
// From `grpc_message`, gRPC's reason for not connecting.
TlsFailure ExplainTlsFailure(std::string_view grpc_message, const ClientOptions& options);

}  // namespace tightfit::client

#endif  // TIGHTFIT_CLIENT_CPP_CHANNEL_H_
