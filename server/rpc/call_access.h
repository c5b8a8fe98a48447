// CheckAccess: the head of every handler, reached through UnaryCall, GenerationCall and
// WatchModels.
#ifndef TIGHTFIT_SERVER_RPC_CALL_ACCESS_H_
#define TIGHTFIT_SERVER_RPC_CALL_ACCESS_H_

#include "server/base/status.h"
#include "server/security/access_control.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/server_context.h>

#include <string>
#include <string_view>

namespace tightfit {

// A method as records name it ("GetModel") and as gRPC does ("/tightfit.v1.ModelService/GetModel").
struct RpcMethod {
  std::string name;
  std::string path;
};

// The method whose requests are of this type: each has a type of its own, in its service's file.
RpcMethod MethodOf(const google::protobuf::Descriptor& request);

// AccessControl::Check for a call and its metadata. A handler must ask before it looks at the
// request: gRPC's interceptors cannot keep a handler from running, and its metadata processors do
// not run on plain text and carry no google.rpc details.
Result<std::string> CheckAccess(const AccessControl& access, const grpc::CallbackServerContext& rpc,
                                std::string_view method);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_CALL_ACCESS_H_
