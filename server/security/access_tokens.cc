#include "server/security/access_tokens.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cctype>

namespace tightfit {
namespace {

constexpr std::string_view kTokenPrefix = "tightfit_";
constexpr size_t kTokenBytes = 32;
constexpr size_t kMaxNameLength = 64;

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::vector<std::string_view> Words(std::string_view line) {
  std::vector<std::string_view> words;
  for (line = Trim(line); !line.empty(); line = Trim(line)) {
    const size_t end = std::min(line.find_first_of(" \t"), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
  return words;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

template <typename Digest>
bool ParseDigest(std::string_view hex, Digest* digest) {
  if (hex.size() != 2 * digest->size()) return false;
  for (size_t i = 0; i < digest->size(); ++i) {
    const int high = HexDigit(hex[2 * i]);
    const int low = HexDigit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    (*digest)[i] = static_cast<unsigned char>(high * 16 + low);
  }
  return true;
}

// False where OpenSSL fails, which no input causes.
template <typename Digest>
bool DigestOf(std::string_view token, Digest* digest) {
  size_t size = 0;
  return EVP_Q_digest(nullptr, "SHA256", nullptr, token.data(), token.size(), digest->data(),
                      &size) == 1 &&
         size == digest->size();
}

std::string Base64Url(const unsigned char* bytes, size_t size) {
  std::string text(4 * ((size + 2) / 3) + 1, '\0');
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes, static_cast<int>(size));
  text.resize(static_cast<size_t>(length));
  text.erase(std::min(text.find('='), text.size()));
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

}  // namespace

std::string_view RoleName(AccessRole role) { return role == AccessRole::kAdmin ? "admin" : "user"; }

std::optional<AccessRole> RoleByName(std::string_view name) {
  if (name == "user") return AccessRole::kUser;
  if (name == "admin") return AccessRole::kAdmin;
  return std::nullopt;
}

bool IsHolderName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameLength &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return (c < 0x80 && std::isalnum(c)) || c == '.' || c == '_' || c == '-';
         });
}

Result<AccessTokens> AccessTokens::Parse(std::string_view text) {
  AccessTokens tokens;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = Trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with('#')) continue;
    const auto refuse = [number](const std::string& why) {
      return InvalidArgument("line " + std::to_string(number) + ": " + why);
    };
    const std::vector<std::string_view> words = Words(line);
    if (words.size() != 3) return refuse("must be ROLE NAME SHA256, three words");
    const std::optional<AccessRole> role = RoleByName(words[0]);
    if (!role.has_value()) return refuse("its role is neither user nor admin");
    if (!IsHolderName(words[1])) {
      return refuse("its name must be 1 to 64 of A-Z a-z 0-9 . _ -");
    }
    Entry entry{{}, {*role, std::string(words[1])}};
    if (!ParseDigest(words[2], &entry.digest)) {
      return refuse("its third word must be a SHA-256 in 64 hex digits, not the token itself");
    }
    if (std::ranges::find(tokens.entries_, entry.digest, &Entry::digest) != tokens.entries_.end()) {
      return refuse("has the token of an earlier line");
    }
    tokens.entries_.push_back(std::move(entry));
  }
  if (tokens.entries_.empty()) {
    return InvalidArgument(
        "holds no token, so nobody could call; make one: tightfit-server token new --role admin "
        "--name NAME");
  }
  return tokens;
}

const TokenHolder* AccessTokens::Find(std::string_view token) const {
  Digest digest;
  if (!DigestOf(token, &digest)) return nullptr;
  const TokenHolder* found = nullptr;
  for (const Entry& entry : entries_) {
    const bool same = CRYPTO_memcmp(digest.data(), entry.digest.data(), digest.size()) == 0;
    found = same ? &entry.holder : found;
  }
  return found;
}

Result<NewToken> MakeToken(AccessRole role, std::string_view name) {
  unsigned char bytes[kTokenBytes];
  std::array<unsigned char, 32> digest;
  if (RAND_bytes(bytes, kTokenBytes) != 1) return Internal("the system gives no random bytes");
  NewToken made;
  made.token = std::string(kTokenPrefix) + Base64Url(bytes, kTokenBytes);
  OPENSSL_cleanse(bytes, kTokenBytes);
  if (!DigestOf(made.token, &digest)) return Internal("SHA-256 is not there");
  made.line = std::string(RoleName(role)) + " " + std::string(name) + " ";
  for (const unsigned char byte : digest) {
    made.line += "0123456789abcdef"[byte >> 4];
    made.line += "0123456789abcdef"[byte & 15];
  }
  return made;
}

}  // namespace tightfit
