#include "server/security/access_tokens.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

// Stands before OpenSSL's, so that comparisons can be counted.
namespace {
int compare_count = 0;
}  // namespace

extern "C" int CRYPTO_memcmp(const void* a, const void* b, size_t size) {
  using Compare = int (*)(const void*, const void*, size_t);
  static const auto original = reinterpret_cast<Compare>(dlsym(RTLD_NEXT, "CRYPTO_memcmp"));
  ++compare_count;
  return original(a, b, size);
}

namespace tightfit {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

// By `printf WORD | sha256sum`.
constexpr char kAlpha[] = "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8";
constexpr char kBeta[] = "f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753";
constexpr char kGamma[] = "be9d587defa1f0c09ef49eb17e206983a5f8f8289e4281860bd0ee5a19592c67";

std::string Error(const std::string& text) { return AccessTokens::Parse(text).status().message(); }

TEST(AccessTokensTest, FindsTheHolderOfAToken) {
  const Result<AccessTokens> tokens = AccessTokens::Parse(
      std::string("# who may call\n\nuser alice ") + kAlpha + "\r\n\tadmin  bob\t" + kBeta);
  ASSERT_TRUE(tokens.ok()) << tokens.status().message();
  ASSERT_EQ(tokens->size(), 2u);
  ASSERT_NE(tokens->Find("alpha"), nullptr);
  EXPECT_EQ(tokens->Find("alpha")->name, "alice");
  EXPECT_EQ(tokens->Find("alpha")->role, AccessRole::kUser);
  ASSERT_NE(tokens->Find("beta"), nullptr);
  EXPECT_EQ(tokens->Find("beta")->name, "bob");
  EXPECT_EQ(tokens->Find("beta")->role, AccessRole::kAdmin);
}

TEST(AccessTokensTest, FindsNobodyForAnythingElse) {
  const Result<AccessTokens> tokens = AccessTokens::Parse(std::string("user alice ") + kAlpha);
  ASSERT_TRUE(tokens.ok());
  for (const std::string& token :
       {std::string(), std::string("Alpha"), std::string("alph"), std::string("alphaa"),
        std::string("alpha "), std::string("alpha\0", 6), std::string(kAlpha),
        std::string(100000, 'a')}) {
    EXPECT_EQ(tokens->Find(token), nullptr) << token.substr(0, 20);
  }
}

TEST(AccessTokensTest, ComparesWithEveryEntryWhicheverMatches) {
  std::string text;
  for (int i = 0; i < 50; ++i) {
    std::string digest = kGamma;
    digest[0] = "0123456789abcdef"[i % 16];
    digest[1] = "0123456789abcdef"[i / 16];
    text += "user name " + digest + "\n";
  }
  const Result<AccessTokens> first =
      AccessTokens::Parse(std::string("user alice ") + kAlpha + "\n" + text);
  const Result<AccessTokens> last = AccessTokens::Parse(text + "user alice " + kAlpha);
  ASSERT_TRUE(first.ok() && last.ok());
  for (const AccessTokens* tokens : {&*first, &*last}) {
    for (const char* token : {"alpha", "nobody's", ""}) {
      compare_count = 0;
      tokens->Find(token);
      EXPECT_EQ(compare_count, 51) << token;
    }
  }
}

TEST(AccessTokensTest, NamesTheLineThatIsMalformed) {
  const std::string good = std::string("user alice ") + kAlpha + "\n";
  EXPECT_EQ(Error(good + "\n# x\nuser bob\n"), "line 4: must be ROLE NAME SHA256, three words");
  EXPECT_THAT(Error(good + "user bob " + kBeta + " x"), HasSubstr("line 2: must be"));
  EXPECT_EQ(Error("root bob " + std::string(kBeta)), "line 1: its role is neither user nor admin");
  EXPECT_EQ(Error("user b/b " + std::string(kBeta)),
            "line 1: its name must be 1 to 64 of A-Z a-z 0-9 . _ -");
  EXPECT_EQ(Error(good + "admin bob " + kAlpha), "line 2: has the token of an earlier line");
  for (std::string digest : {std::string(kBeta).substr(1), std::string(kBeta) + "0",
                             "x" + std::string(kBeta).substr(1)}) {
    EXPECT_THAT(Error(good + "user bob " + digest), HasSubstr("line 2: its third word must be"));
  }
  EXPECT_THAT(Error("# nobody\n"), HasSubstr("holds no token"));
  EXPECT_THAT(Error(""), HasSubstr("token new"));
}

TEST(AccessTokensTest, DoesNotQuoteATokenThatStandsInTheFileByMistake) {
  EXPECT_THAT(Error("user alice tightfit_secret"), Not(HasSubstr("secret")));
  EXPECT_THAT(Error("tightfit_secret"), Not(HasSubstr("secret")));
}

TEST(AccessTokensTest, MakesTokensThatItsLinesAdmit) {
  std::set<std::string> seen;
  for (const AccessRole role : {AccessRole::kUser, AccessRole::kAdmin}) {
    const Result<NewToken> made = MakeToken(role, "alice-2");
    ASSERT_TRUE(made.ok());
    EXPECT_THAT(made->token, MatchesRegex("tightfit_[A-Za-z0-9_-]{43}"));
    EXPECT_THAT(made->line, Not(HasSubstr(made->token)));
    EXPECT_TRUE(seen.insert(made->token).second);
    const Result<AccessTokens> tokens = AccessTokens::Parse(made->line);
    ASSERT_TRUE(tokens.ok()) << tokens.status().message();
    const TokenHolder* const holder = tokens->Find(made->token);
    ASSERT_NE(holder, nullptr);
    EXPECT_EQ(holder->name, "alice-2");
    EXPECT_EQ(holder->role, role);
  }
}

}  // namespace
}  // namespace tightfit
