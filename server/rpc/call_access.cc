#include "server/rpc/call_access.h"

#include <optional>

namespace tightfit {

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
