// Opens the sockets that gRPC's connections come from.
#ifndef TIGHTFIT_SERVER_RPC_OPEN_LISTEN_ADDRESS_H_
#define TIGHTFIT_SERVER_RPC_OPEN_LISTEN_ADDRESS_H_

#include "server/base/listen_address.h"
#include "server/base/listening_sockets.h"
#include "server/base/status.h"

namespace tightfit {

// Listens on each address that a host name stands for. Errors: FAILED_PRECONDITION `ADDRESS_IN_USE`
// if it cannot be bound, or if a server answers on a Unix socket of that path: binding would take
// the path away from it.
Result<ListeningSockets> OpenListenAddress(const ListenAddress& address);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_OPEN_LISTEN_ADDRESS_H_
