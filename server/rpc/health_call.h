// A call of grpc.health.v1.Health over a connection that stands already.
#ifndef TIGHTFIT_SERVER_RPC_HEALTH_CALL_H_
#define TIGHTFIT_SERVER_RPC_HEALTH_CALL_H_

#include "server/base/file_descriptor.h"
#include "server/base/status.h"

#include <chrono>

namespace tightfit {

// Asks the server at the other end, in plain text, for its health. OK where any answer comes, also
// that it does not serve. Returns within `patience` and a second, also where gRPC hangs.
Status CallHealth(FileDescriptor connection, std::chrono::milliseconds patience);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_HEALTH_CALL_H_
