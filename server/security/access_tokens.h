// AccessTokens: who may do what, by bearer token. The server keeps digests alone, so that a copy of
// its file or memory opens no door.
#ifndef TIGHTFIT_SERVER_SECURITY_ACCESS_TOKENS_H_
#define TIGHTFIT_SERVER_SECURITY_ACCESS_TOKENS_H_

#include "server/base/status.h"

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

enum class AccessRole { kUser, kAdmin };

// "user", "admin"
std::string_view RoleName(AccessRole role);
std::optional<AccessRole> RoleByName(std::string_view name);

// 1 to 64 characters of [A-Za-z0-9._-]: what a token's holder may be called.
bool IsHolderName(std::string_view name);

struct TokenHolder {
  AccessRole role = AccessRole::kUser;
  std::string name;
};

// Immutable, so thread-safe.
class AccessTokens {
 public:
  // `text` has lines `ROLE NAME SHA256`, the last in 64 hex digits; empty lines and lines that
  // begin with # are passed over. A name may have several tokens. Errors: INVALID_ARGUMENT `line 3:
  // ...`, also where two lines have one digest and where there is no token at all; the message
  // never quotes a line, which may hold a token by mistake.
  static Result<AccessTokens> Parse(std::string_view text);

  // Whose token it is; nullptr where nobody's. Compares with every digest, each in constant time,
  // so that the time tells nothing about which one matched or how much of it.
  const TokenHolder* Find(std::string_view token) const;

  size_t size() const { return entries_.size(); }

 private:
  using Digest = std::array<unsigned char, 32>;
  struct Entry {
    Digest digest;
    TokenHolder holder;
  };

  std::vector<Entry> entries_;
};

// A new token and the line of the file that admits it.
struct NewToken {
  std::string token;  // "tightfit_" and 43 characters of URL-safe base64: 256 random bits
  std::string line;   // without an end of line
};
// `name` must be IsHolderName. Errors: INTERNAL where the system gives no random bytes.
Result<NewToken> MakeToken(AccessRole role, std::string_view name);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_SECURITY_ACCESS_TOKENS_H_
