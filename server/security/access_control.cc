#include "server/security/access_control.h"

#include <strings.h>

#include <algorithm>

namespace tightfit {
namespace {

constexpr MethodAccess kMethods[] = {
    {"/tightfit.v1.ImageGenerationService/StreamImages", Access::kUser},
    {"/tightfit.v1.ImageGenerationService/GenerateImages", Access::kUser},
    {"/tightfit.v1.ImageGenerationService/EstimateImages", Access::kUser},
    {"/tightfit.v1.ModelService/ListModels", Access::kUser},
    {"/tightfit.v1.ModelService/GetModel", Access::kUser},
    {"/tightfit.v1.ModelService/WatchModels", Access::kUser},
    {"/tightfit.v1.ModelService/LoadModel", Access::kAdmin},
    {"/tightfit.v1.ModelService/UnloadModel", Access::kAdmin},
    {"/tightfit.v1.ModelService/UpdateModel", Access::kAdmin},
    {"/tightfit.v1.ServerService/GetServerInfo", Access::kUser},
    {"/tightfit.v1.ServerService/GetCapabilities", Access::kUser},
    {"/grpc.health.v1.Health/Check", Access::kOpen},
    {"/grpc.health.v1.Health/Watch", Access::kOpen},
    // gRPC's own implementation, which nothing of ours can stand before: it would hold a thread for
    // each stream that a stranger opens. The contract that it tells is in proto/.
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Access::kNotServed},
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Access::kNotServed},
};

// What follows "Bearer ", whose case does not count (RFC 9110); nullopt for anything else.
std::optional<std::string_view> TokenOf(std::optional<std::string_view> authorization) {
  constexpr std::string_view kScheme = "Bearer ";
  if (!authorization.has_value() || authorization->size() <= kScheme.size() ||
      strncasecmp(authorization->data(), kScheme.data(), kScheme.size()) != 0) {
    return std::nullopt;
  }
  return authorization->substr(kScheme.size());
}

}  // namespace

std::span<const MethodAccess> MethodAccessTable() { return kMethods; }

void AccessControl::Replace(AccessTokens tokens) const {
  auto next = std::make_shared<const AccessTokens>(std::move(tokens));
  const std::lock_guard lock(current_->mutex);
  current_->tokens.swap(next);
}

Result<std::string> AccessControl::Check(std::string_view method,
                                         std::optional<std::string_view> authorization) const {
  if (!has_tokens()) return std::string();
  const auto row = std::ranges::find(kMethods, method, &MethodAccess::method);
  const Access access = row == std::end(kMethods) ? Access::kNotServed : row->access;
  if (access == Access::kOpen) return std::string();
  const std::optional<std::string_view> token = TokenOf(authorization);
  const std::shared_ptr<const AccessTokens> tokens = [this] {
    const std::lock_guard lock(current_->mutex);
    return current_->tokens;
  }();
  const TokenHolder* const holder = token.has_value() ? tokens->Find(*token) : nullptr;
  if (holder == nullptr) {
    return Status(StatusCode::kUnauthenticated, "INVALID_CREDENTIALS",
                  "this server takes calls with a valid token only; send the metadata "
                  "authorization: Bearer TOKEN");
  }
  const bool allowed =
      access == Access::kUser || (access == Access::kAdmin && holder->role == AccessRole::kAdmin);
  if (!allowed) {
    return Status(StatusCode::kPermissionDenied, "ADMIN_ROLE_REQUIRED",
                  "this call takes a token of the role admin")
        .WithDetail("called by " + holder->name);
  }
  return holder->name;
}

}  // namespace tightfit
