// Who may call what: every method of every service that is served, with each kind of token.
#include "server/security/access_control.h"
#include "tests/unit/rpc/reflection_client.h"
#include "tests/unit/rpc/rpc_fixture.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>

#include <future>
#include <set>

namespace tightfit {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

class AccessTest : public RpcFixture {
 protected:
  AccessTest() {
    user_ = *MakeToken(AccessRole::kUser, "alice");
    admin_ = *MakeToken(AccessRole::kAdmin, "bob");
    unknown_ = *MakeToken(AccessRole::kAdmin, "mallory");
  }

  void StartWithTokens() {
    access_ = AccessControl(*AccessTokens::Parse(user_.line + "\n" + admin_.line));
    StartServer();
  }

  // A call with an empty request. What is admitted ends otherwise: with an error about the request,
  // or with this call's own deadline.
  grpc::Status Call(std::string_view method, const std::vector<std::string>& authorizations) const {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
    for (const std::string& each : authorizations) context.AddMetadata("authorization", each);
    grpc::GenericStub stub(channel_);
    grpc::ByteBuffer response;
    std::promise<grpc::Status> done;
    grpc::Slice empty;
    const grpc::ByteBuffer message(&empty, 1);
    stub.UnaryCall(&context, std::string(method), {}, &message, &response,
                   [&](grpc::Status status) { done.set_value(std::move(status)); });
    return done.get_future().get();
  }

  static void ExpectRefused(const grpc::Status& status, grpc::StatusCode code,
                            const std::string& reason, std::string_view method) {
    EXPECT_EQ(status.error_code(), code) << method << ": " << status.error_message();
    const ErrorDetails details = DetailsOf(status);
    ASSERT_TRUE(details.info.has_value()) << method;
    EXPECT_EQ(details.info->reason(), reason) << method;
    EXPECT_EQ(details.info->domain(), "tightfit") << method;
  }

  static void ExpectAdmitted(const grpc::Status& status, std::string_view method) {
    EXPECT_NE(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << method;
    EXPECT_NE(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << method;
    EXPECT_NE(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << method;
  }

  NewToken user_;
  NewToken admin_;
  NewToken unknown_;
};

TEST_F(AccessTest, TheTableHoldsEveryMethodOfEveryServiceAndNoOther) {
  StartServer();
  const std::string listed = ListServices(channel_).message;
  ASSERT_NE(listed, "");
  std::set<std::string> table;
  for (const MethodAccess& row : MethodAccessTable()) table.emplace(row.method);
  EXPECT_EQ(table.size(), MethodAccessTable().size()) << "a method stands there twice";

  // ServerReflectionResponse holds each name behind the tag 0x0a and its length.
  std::set<std::string> served;
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  int service_count = 0;
  for (size_t at = 0; at + 1 < listed.size(); ++at) {
    const size_t length = static_cast<unsigned char>(listed[at + 1]);
    if (listed[at] != '\x0a' || at + 2 + length > listed.size()) continue;
    const std::string name = listed.substr(at + 2, length);
    if (name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.") !=
            std::string::npos ||
        name.find('.') == std::string::npos) {
      continue;
    }
    ++service_count;
    if (name == "grpc.health.v1.Health") {  // written by hand in gRPC: it has no descriptor
      served.insert({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"});
      continue;
    }
    const auto* const service = pool->FindServiceByName(name);
    ASSERT_NE(service, nullptr) << name;
    for (int i = 0; i < service->method_count(); ++i) {
      served.insert("/" + name + "/" + service->method(i)->name());
    }
  }
  EXPECT_EQ(service_count, 6) << "three of ours, health, reflection twice";
  EXPECT_EQ(served, table);
}

TEST_F(AccessTest, RefusesEveryMethodWithoutAValidToken) {
  StartWithTokens();
  int refused = 0;
  for (const MethodAccess& row : MethodAccessTable()) {
    if (row.access != Access::kUser && row.access != Access::kAdmin) continue;
    for (const std::vector<std::string>& authorizations :
         {std::vector<std::string>{},
          {"Bearer " + unknown_.token},
          {"Bearer"},
          {user_.token},
          {"Basic " + user_.token},
          {"Bearer " + user_.token, "Bearer " + admin_.token}}) {
      ExpectRefused(Call(row.method, authorizations), grpc::StatusCode::UNAUTHENTICATED,
                    "INVALID_CREDENTIALS", row.method);
      ++refused;
    }
  }
  EXPECT_EQ(refused, 11 * 6);
}

TEST_F(AccessTest, AdmitsEachRoleToWhatTheTableSays) {
  StartWithTokens();
  for (const MethodAccess& row : MethodAccessTable()) {
    if (row.access == Access::kNotServed) continue;
    const grpc::Status as_user = Call(row.method, {"Bearer " + user_.token});
    if (row.access == Access::kAdmin) {
      ExpectRefused(as_user, grpc::StatusCode::PERMISSION_DENIED, "ADMIN_ROLE_REQUIRED",
                    row.method);
    } else {
      ExpectAdmitted(as_user, row.method);
    }
    ExpectAdmitted(Call(row.method, {"Bearer " + admin_.token}), row.method);
    if (row.access == Access::kOpen) ExpectAdmitted(Call(row.method, {}), row.method);
  }
}

TEST_F(AccessTest, AUserDrawsAndAnAdminUnloads) {
  StartWithTokens();
  {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + user_.token);
    EXPECT_TRUE(Stream(Request(), context).status.ok());
  }
  const auto stub = v1::ModelService::NewStub(channel_);
  v1::UnloadModelRequest request;
  request.set_name("fake");
  const auto unload = [&](const NewToken& token) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + token.token);
    v1::UnloadModelResponse response;
    return stub->UnloadModel(&context, request, &response);
  };
  EXPECT_EQ(unload(user_).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(registry_->Find("fake")->state, ModelState::kResident) << "nothing was done";
  EXPECT_TRUE(unload(admin_).ok());
  EXPECT_EQ(registry_->Find("fake")->state, ModelState::kUnloaded);
}

TEST_F(AccessTest, TellsTheLogWhoCalledAndNoToken) {
  StartWithTokens();
  Call("/tightfit.v1.ServerService/GetServerInfo", {"Bearer " + user_.token});
  Call("/tightfit.v1.ServerService/GetServerInfo", {"Bearer " + unknown_.token});
  const std::optional<RequestRecord> admitted = recorder_.WaitForRecord(1);
  const std::optional<RequestRecord> refused = recorder_.WaitForRecord(2);
  ASSERT_TRUE(admitted.has_value() && refused.has_value());
  EXPECT_EQ(admitted->caller, "alice");
  EXPECT_EQ(refused->caller, "");
  EXPECT_THAT(refused->status.ForLog(), Not(HasSubstr(unknown_.token)));
  EXPECT_THAT(recorder_.events(),
              IsSupersetOf({"finished GetServerInfo  0", "finished GetServerInfo  16"}));
}

TEST_F(AccessTest, DoesNotServeReflectionWithTokens) {
  StartWithTokens();
  for (const std::string version : {"v1alpha", "v1"}) {
    for (const std::string& authorization : {std::string(), "Bearer " + admin_.token}) {
      const ReflectionAnswer answer = ListServices(channel_, authorization, version);
      EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
      EXPECT_EQ(answer.message, "");
    }
  }
}

TEST_F(AccessTest, AsksForTokensOnAUnixSocketToo) {
  listen_ = "unix:" + ::testing::TempDir() + "tightfit_access_" + std::to_string(::getpid());
  StartWithTokens();
  EXPECT_EQ(Call("/tightfit.v1.ServerService/GetServerInfo", {}).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Call("/tightfit.v1.ServerService/GetServerInfo", {"Bearer " + user_.token}).ok());
}

}  // namespace
}  // namespace tightfit
