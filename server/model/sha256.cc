#include "server/model/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <cstdlib>

namespace tightfit {
namespace {

// EVP fails only when memory is out or when the build of OpenSSL lacks SHA-256. A digest that was
// not computed must never compare equal to anything, so the process ends.
void Require(int succeeded) {
  if (succeeded != 1) std::abort();
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  Require(context_ != nullptr);
  Require(EVP_DigestInit_ex(context_, EVP_sha256(), nullptr));
}

Sha256::~Sha256() { EVP_MD_CTX_free(context_); }

void Sha256::Update(const void* bytes, size_t size) {
  Require(EVP_DigestUpdate(context_, bytes, size));
}

std::array<uint8_t, 32> Sha256::Digest() {
  std::array<uint8_t, 32> digest;
  Require(EVP_DigestFinal_ex(context_, digest.data(), nullptr));
  return digest;
}

std::string Sha256::HexDigest() {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const uint8_t byte : Digest()) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

std::string Sha256::HexDigestOf(std::string_view bytes) {
  Sha256 sha256;
  sha256.Update(bytes.data(), bytes.size());
  return sha256.HexDigest();
}

bool IsHexDigest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace tightfit
