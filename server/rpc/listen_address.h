// The address that a server is told to listen on, checked before gRPC sees it.
#ifndef TIGHTFIT_SERVER_RPC_LISTEN_ADDRESS_H_
#define TIGHTFIT_SERVER_RPC_LISTEN_ADDRESS_H_

#include "server/base/listening_sockets.h"
#include "server/base/status.h"

#include <string>

namespace tightfit {

// "HOST:PORT" with a port of 0 to 65535 (gRPC itself would cut a larger one) or "unix:PATH".
// Errors: INVALID_ARGUMENT `BAD_ADDRESS`; FAILED_PRECONDITION `ADDRESS_IN_USE` for a Unix socket on
// which a server answers (gRPC itself would take it away from that server).
Status CheckListenAddress(const std::string& listen);

// Listens on a checked address, on each that a host name stands for. Errors: FAILED_PRECONDITION
// `ADDRESS_IN_USE` when it cannot be bound.
Result<ListeningSockets> OpenListenAddress(const std::string& listen);

// `listen` with the port that was bound.
std::string BoundAddress(const std::string& listen, int port);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_LISTEN_ADDRESS_H_
