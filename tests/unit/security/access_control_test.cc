#include "server/security/access_control.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace tightfit {
namespace {

constexpr char kDraw[] = "/tightfit.v1.ImageGenerationService/StreamImages";
constexpr char kLoad[] = "/tightfit.v1.ModelService/LoadModel";
constexpr char kHealth[] = "/grpc.health.v1.Health/Check";

class AccessControlTest : public testing::Test {
 protected:
  AccessControlTest() {
    user_ = *MakeToken(AccessRole::kUser, "alice");
    admin_ = *MakeToken(AccessRole::kAdmin, "bob");
    access_ = AccessControl(*AccessTokens::Parse(user_.line + "\n" + admin_.line));
  }

  std::string ReasonOf(std::string_view method, std::optional<std::string> authorization) const {
    return access_.Check(method, authorization).status().reason();
  }

  NewToken user_;
  NewToken admin_;
  AccessControl access_;
};

TEST_F(AccessControlTest, LetsEverybodyDoEverythingWithoutTokens) {
  const AccessControl open;
  EXPECT_FALSE(open.has_tokens());
  for (const MethodAccess& row : MethodAccessTable()) {
    EXPECT_TRUE(open.Check(row.method, std::nullopt).ok()) << row.method;
  }
}

TEST_F(AccessControlTest, NamesTheCaller) {
  EXPECT_EQ(*access_.Check(kDraw, "Bearer " + user_.token), "alice");
  EXPECT_EQ(*access_.Check(kLoad, "Bearer " + admin_.token), "bob");
  EXPECT_EQ(*access_.Check(kDraw, "bearer " + admin_.token), "bob") << "a scheme has no case";
  EXPECT_EQ(*access_.Check(kHealth, std::nullopt), "");
}

TEST_F(AccessControlTest, NewTokensCountFromTheNextCallOnInEveryCopy) {
  const AccessControl copy = access_;
  const NewToken carol = *MakeToken(AccessRole::kUser, "carol");
  access_.Replace(*AccessTokens::Parse(carol.line));
  EXPECT_EQ(*copy.Check(kDraw, "Bearer " + carol.token), "carol");
  EXPECT_EQ(copy.Check(kDraw, "Bearer " + user_.token).status().reason(), "INVALID_CREDENTIALS");
}

TEST_F(AccessControlTest, AnswersTheSameToMissingMalformedAndUnknownTokens) {
  const Status missing = access_.Check(kDraw, std::nullopt).status();
  EXPECT_EQ(missing.code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(missing.reason(), "INVALID_CREDENTIALS");
  const std::string cut = user_.token.substr(0, user_.token.size() - 1);
  for (const std::string& authorization :
       {std::string(), std::string("Bearer"), std::string("Bearer "), user_.token,
        "Basic " + user_.token, "Bearer  " + user_.token, "Bearer " + user_.token + " ",
        "Bearer " + cut, "Bearer " + user_.line, std::string("Bearer x")}) {
    for (const char* method : {kDraw, kLoad}) {
      const Status status = access_.Check(method, authorization).status();
      EXPECT_EQ(status.code(), missing.code()) << authorization;
      EXPECT_EQ(status.reason(), missing.reason()) << authorization;
      EXPECT_EQ(status.message(), missing.message()) << authorization;
      EXPECT_TRUE(status.metadata().empty());
    }
  }
}

TEST_F(AccessControlTest, AsksForTheRoleAdminWhereModelsAreChanged) {
  const Status refused = access_.Check(kLoad, "Bearer " + user_.token).status();
  EXPECT_EQ(refused.code(), StatusCode::kPermissionDenied);
  EXPECT_EQ(refused.reason(), "ADMIN_ROLE_REQUIRED");
  EXPECT_EQ(refused.detail(), "called by alice") << "the operator's log tells who tried";
}

TEST_F(AccessControlTest, RefusesAMethodThatItDoesNotKnow) {
  for (const char* method : {"/tightfit.v1.ModelService/NewMethod", "", "LoadModel",
                             "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}) {
    EXPECT_EQ(ReasonOf(method, std::nullopt), "INVALID_CREDENTIALS") << method;
    EXPECT_EQ(ReasonOf(method, "Bearer " + admin_.token), "ADMIN_ROLE_REQUIRED") << method;
  }
}

}  // namespace
}  // namespace tightfit
