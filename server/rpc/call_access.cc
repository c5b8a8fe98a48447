#include "server/rpc/call_access.h"

#include <optional>

namespace tightfit {

RpcMethod MethodOf(const google::protobuf::Descriptor& request) {
  const google::protobuf::FileDescriptor& file = *request.file();
  for (int i = 0; i < file.service_count(); ++i) {
    const google::protobuf::ServiceDescriptor& service = *file.service(i);
    for (int j = 0; j < service.method_count(); ++j) {
      const google::protobuf::MethodDescriptor& method = *service.method(j);
      if (method.input_type() != &request) continue;
      return {method.name(), "/" + service.full_name() + "/" + method.name()};
    }
  }
  return {};  // no rule of access knows the empty path: nobody is admitted
}

Result<std::string> CheckAccess(const AccessControl& access, const grpc::CallbackServerContext& rpc,
                                std::string_view method) {
  const auto [first, last] = rpc.client_metadata().equal_range("authorization");
  std::optional<std::string_view> authorization;
  // Two of them say nothing clear, and count as none.
  if (first != last && std::next(first) == last) {
    authorization.emplace(first->second.data(), first->second.size());
  }
  return access.Check(method, authorization);
}

}  // namespace tightfit
