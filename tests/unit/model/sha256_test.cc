#include "server/model/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace tightfit {
namespace {

// Vectors of FIPS 180-4's examples; `printf ... | sha256sum` gives the same.
TEST(Sha256Test, EqualsThePublishedVectors) {
  EXPECT_EQ(Sha256::HexDigestOf(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256::HexDigestOf("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256::HexDigestOf("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256::HexDigestOf(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, DoesNotDependOnHowTheBytesArrive) {
  std::string bytes(1000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7);
  const std::string whole = Sha256::HexDigestOf(bytes);
  for (const size_t piece : {1u, 63u, 64u, 65u, 999u}) {
    Sha256 sha256;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      sha256.Update(bytes.data() + at, std::min(piece, bytes.size() - at));
    }
    EXPECT_EQ(sha256.HexDigest(), whole) << "pieces of " << piece;
  }
}

}  // namespace
}  // namespace tightfit
