// CheckAccess: the head of every handler.
#ifndef TIGHTFIT_SERVER_RPC_CALL_ACCESS_H_
#define TIGHTFIT_SERVER_RPC_CALL_ACCESS_H_

#include "server/base/status.h"
#include "server/security/access_control.h"

#include <grpcpp/server_context.h>

#include <string>
#include <string_view>

namespace tightfit {

// AccessControl::Check for a call and its metadata. A handler must ask before it looks at the
// request: gRPC's interceptors cannot keep a handler from running, and its metadata processors do
// not run on plain text and carry no google.rpc details.
Result<std::string> CheckAccess(const AccessControl& access, const grpc::CallbackServerContext& rpc,
                                std::string_view method);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_CALL_ACCESS_H_
