// AccessControl: the one place that decides whether a call may go on.
#ifndef TIGHTFIT_SERVER_SECURITY_ACCESS_CONTROL_H_
#define TIGHTFIT_SERVER_SECURITY_ACCESS_CONTROL_H_

#include "server/base/status.h"
#include "server/security/access_tokens.h"

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace tightfit {

// Who may call a method where tokens are configured.
enum class Access {
  kOpen,       // everybody: probes carry no token
  kUser,       // whoever has a token
  kAdmin,      // whoever has a token of the role admin
  kNotServed,  // nobody: the method is not there
};

struct MethodAccess {
  std::string_view method;  // "/tightfit.v1.ModelService/LoadModel"
  Access access;
};

// Every method of every service that the server registers.
std::span<const MethodAccess> MethodAccessTable();

// Thread-safe. Copies share their tokens.
class AccessControl {
 public:
  // Without tokens every call may go on.
  AccessControl() = default;
  explicit AccessControl(AccessTokens tokens)
      : current_(std::make_shared<Current>(std::move(tokens))) {}

  bool has_tokens() const { return current_ != nullptr; }
  // From the next call on, of all copies. REQUIRES: has_tokens().
  void Replace(AccessTokens tokens) const;

  // The name of the caller, empty where none is asked for. `authorization` is the value of the
  // call's metadata of that name. Errors: UNAUTHENTICATED `INVALID_CREDENTIALS`, the same for a
  // missing, a malformed and an unknown token; PERMISSION_DENIED `ADMIN_ROLE_REQUIRED`, also for a
  // method that the table does not know.
  Result<std::string> Check(std::string_view method,
                            std::optional<std::string_view> authorization) const;

 private:
  struct Current {
    explicit Current(AccessTokens first)
        : tokens(std::make_shared<const AccessTokens>(std::move(first))) {}

    std::mutex mutex;
    std::shared_ptr<const AccessTokens> tokens;
  };

  std::shared_ptr<Current> current_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_SECURITY_ACCESS_CONTROL_H_
