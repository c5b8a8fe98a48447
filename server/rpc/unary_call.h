// UnaryCall: the one way into a unary handler. It tells the observer of the call, checks who calls
// before anything looks at the request, and ends the call.
#ifndef TIGHTFIT_SERVER_RPC_UNARY_CALL_H_
#define TIGHTFIT_SERVER_RPC_UNARY_CALL_H_

#include "server/base/status.h"
#include "server/rpc/call_access.h"
#include "server/rpc/call_context.h"
#include "server/rpc/call_record.h"
#include "server/rpc/status_mapping.h"

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace tightfit {

// Ends a call; from any thread, once. With OK the response must be complete.
using EndCall = std::function<void(const Status&)>;

// Calls `handle(EndCall)` if the caller may use the method whose requests are of this type; it may
// end the call later. `model`: the label of records, empty for methods without a model.
template <typename Request, typename Handle>
grpc::ServerUnaryReactor* UnaryCall(const CallContext& context, grpc::CallbackServerContext* rpc,
                                    const Request& /*request*/, std::string model,
                                    const Handle& handle) {
  RpcMethod method = MethodOf(*Request::descriptor());
  auto record = std::make_shared<CallRecord>(context.observer, context.clock,
                                             std::move(method.name), std::move(model));
  grpc::ServerUnaryReactor* const reactor = rpc->DefaultReactor();
  EndCall end = [record, reactor](const Status& status) {
    record->Finish(status);
    reactor->Finish(ToGrpcStatus(status));
  };
  const Status admitted = record->Admit(CheckAccess(context.access, *rpc, method.path));
  if (admitted.ok()) {
    handle(std::move(end));
  } else {
    end(admitted);
  }
  return reactor;
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_UNARY_CALL_H_
