// Sha256: the digest of a file while it is being read.
#ifndef TIGHTFIT_SERVER_MODEL_SHA256_H_
#define TIGHTFIT_SERVER_MODEL_SHA256_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;  // OpenSSL's EVP_MD_CTX

namespace tightfit {

// Feed the bytes in order, then ask once. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(const void* bytes, size_t size);
  std::array<uint8_t, 32> Digest();
  // 64 lower-case hex digits. After either of both the object may only be destroyed.
  std::string HexDigest();

  static std::string HexDigestOf(std::string_view bytes);

 private:
  evp_md_ctx_st* const context_;
};

// Whether `text` is one: 64 lower-case hex digits.
bool IsHexDigest(std::string_view text);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_SHA256_H_
