// Why gRPC cancelled a call.
#ifndef TIGHTFIT_SERVER_RPC_CALL_CANCELLATION_H_
#define TIGHTFIT_SERVER_RPC_CALL_CANCELLATION_H_

#include "server/base/status.h"

#include <grpcpp/server_context.h>

#include <chrono>

namespace tightfit {

// DEADLINE_EXCEEDED when the call's deadline has passed, else CANCELLED: the client cancelled or is
// gone. gRPC reports all of them alike.
inline Status CancellationOf(const grpc::ServerContextBase& rpc) {
  if (rpc.deadline() <= std::chrono::system_clock::now()) {
    return {StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED",
            "the deadline passed before the end of the work"};
  }
  return {StatusCode::kCancelled, "CANCELLED", "the client cancelled the request"};
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_CALL_CANCELLATION_H_
