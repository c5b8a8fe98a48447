// What ModelService and ServerService refuse: the code, the field, and that nothing changes.
#include "tests/unit/rpc/rpc_fixture.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kMaxSeconds = int64_t{366} * 86400;
constexpr int32_t kMax32 = std::numeric_limits<int32_t>::max();
constexpr int32_t kMin32 = std::numeric_limits<int32_t>::min();
constexpr int64_t kMax64 = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin64 = std::numeric_limits<int64_t>::min();

class BadModelRequestsTest : public RpcFixture {
 protected:
  void Start() {
    StartServer();
    models_stub_ = v1::ModelService::NewStub(channel_);
    server_stub_ = v1::ServerService::NewStub(channel_);
  }

  template <typename Request>
  static Request Named(const std::string& name) {
    Request request;
    request.set_name(name);
    return request;
  }
  template <typename Request>
  static Request WithUnknownField(Request request) {
    request.GetReflection()->MutableUnknownFields(&request)->AddVarint(1000, 1);
    return request;
  }

  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (v1::ModelService::Stub::*method)(grpc::ClientContext*,
                                                                   const Request&, Response*),
                    const Request& request) {
    grpc::ClientContext context;
    Response response;
    return ((*models_stub_).*method)(&context, request, &response);
  }
  grpc::Status Get(const v1::GetModelRequest& request) {
    return Call(&v1::ModelService::Stub::GetModel, request);
  }
  grpc::Status Load(const v1::LoadModelRequest& request) {
    return Call(&v1::ModelService::Stub::LoadModel, request);
  }
  grpc::Status Unload(const v1::UnloadModelRequest& request) {
    return Call(&v1::ModelService::Stub::UnloadModel, request);
  }
  grpc::Status Update(const v1::UpdateModelRequest& request) {
    return Call(&v1::ModelService::Stub::UpdateModel, request);
  }
  grpc::Status List(const v1::ListModelsRequest& request) {
    return Call(&v1::ModelService::Stub::ListModels, request);
  }
  grpc::Status Watch(const v1::WatchModelsRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    const auto stream = models_stub_->WatchModels(&context, request);
    v1::WatchModelsResponse event;
    while (stream->Read(&event)) {
    }
    return stream->Finish();
  }

  // The model's state and policy, which no bad request may change.
  std::string Snapshot() {
    grpc::ClientContext context;
    v1::GetModelResponse response;
    EXPECT_TRUE(
        models_stub_->GetModel(&context, Named<v1::GetModelRequest>("fake"), &response).ok());
    return response.SerializeAsString();
  }

  std::unique_ptr<v1::ModelService::Stub> models_stub_;
  std::unique_ptr<v1::ServerService::Stub> server_stub_;
};

struct BadUpdate {
  const char* name;
  std::function<void(v1::UpdateModelRequest&)> change;
  const char* field;
  const char* limit;
};

std::vector<BadUpdate> BadUpdates() {
  const auto keep_alive = [](int64_t seconds, int32_t nanos) {
    return [=](v1::UpdateModelRequest& request) {
      request.mutable_keep_alive_duration()->set_seconds(seconds);
      request.mutable_keep_alive_duration()->set_nanos(nanos);
    };
  };
  const auto priority = [](int32_t value) {
    return [=](v1::UpdateModelRequest& request) { request.set_priority(value); };
  };
  const char* const kDays = "0 to 366 days";
  const char* const kPriorities = "-1000 to 1000";
  return {
      {"-1 s", keep_alive(-1, 0), "keep_alive_duration", kDays},
      {"-1 ns", keep_alive(0, -1), "keep_alive_duration", kDays},
      {"1 s less 1 ns, in two signs", keep_alive(1, -1), "keep_alive_duration", kDays},
      {"10^9 ns", keep_alive(0, 1'000'000'000), "keep_alive_duration", kDays},
      {"366 days and 1 ns", keep_alive(kMaxSeconds, 1), "keep_alive_duration", kDays},
      {"366 days and 1 s", keep_alive(kMaxSeconds + 1, 0), "keep_alive_duration", kDays},
      {"2^63 - 1 s", keep_alive(kMax64, 0), "keep_alive_duration", kDays},
      {"-2^63 s", keep_alive(kMin64, 0), "keep_alive_duration", kDays},
      {"most of both", keep_alive(kMax64, kMax32), "keep_alive_duration", kDays},
      {"least of both", keep_alive(kMin64, kMin32), "keep_alive_duration", kDays},
      {"priority 1001", priority(1001), "priority", kPriorities},
      {"priority -1001", priority(-1001), "priority", kPriorities},
      {"priority 2^31 - 1", priority(kMax32), "priority", kPriorities},
      {"priority -2^31", priority(kMin32), "priority", kPriorities},
      {"no name", [](v1::UpdateModelRequest& request) { request.clear_name(); }, "name",
       "required"},
      {"an unknown field of the duration",
       [](v1::UpdateModelRequest& request) {
         auto* duration = request.mutable_keep_alive_duration();
         duration->GetReflection()->MutableUnknownFields(duration)->AddVarint(3, 1);
       },
       "keep_alive_duration.3", "does not know"},
  };
}

TEST_F(BadModelRequestsTest, UpdatesAreRefusedWithFieldAndLimitAndChangeNothing) {
  Start();
  const std::string before = Snapshot();
  for (const BadUpdate& bad : BadUpdates()) {
    auto request = Named<v1::UpdateModelRequest>("fake");
    request.set_pinned(true);
    bad.change(request);
    const grpc::Status status = Update(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << bad.name;
    EXPECT_THAT(DetailsOf(status).ViolationOf(bad.field), HasSubstr(bad.limit)) << bad.name;
  }
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(BadModelRequestsTest, UpdatesAreNamedAllAtOnce) {
  Start();
  v1::UpdateModelRequest request;
  request.mutable_keep_alive_duration()->set_seconds(-1);
  request.set_priority(5000);
  const ErrorDetails details = DetailsOf(Update(WithUnknownField(request)));
  for (const char* field : {"1000", "name", "keep_alive_duration", "priority"}) {
    EXPECT_NE(details.ViolationOf(field), "") << field;
  }
}

TEST_F(BadModelRequestsTest, UpdatesAtTheirLimitsPass) {
  Start();
  auto request = Named<v1::UpdateModelRequest>("fake");
  request.mutable_keep_alive_duration()->set_seconds(kMaxSeconds);
  request.set_priority(1000);
  EXPECT_TRUE(Update(request).ok());
  request.mutable_keep_alive_duration()->set_seconds(kMaxSeconds - 1);
  request.mutable_keep_alive_duration()->set_nanos(999'999'999);
  request.set_priority(-1000);
  EXPECT_TRUE(Update(request).ok());
  request.mutable_keep_alive_duration()->Clear();
  EXPECT_TRUE(Update(request).ok());
}

TEST_F(BadModelRequestsTest, NamesOfNoModelAreNotFoundAndShownHarmlessly) {
  Start();
  const std::string before = Snapshot();
  for (const std::string& name :
       {std::string("other"), std::string("Fake"), std::string("fake "), std::string("fake\0", 5),
        std::string("\0", 1), std::string("../fake"), std::string("a\x1b[2J\r\n"),
        std::string("\xE2\x80\xAE"
                    "ekaf"),
        std::string(1 << 20, 'x')}) {
    for (const grpc::Status& status :
         {Get(Named<v1::GetModelRequest>(name)), Load(Named<v1::LoadModelRequest>(name)),
          Unload(Named<v1::UnloadModelRequest>(name)),
          Update(Named<v1::UpdateModelRequest>(name))}) {
      EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND) << name.substr(0, 20);
      const std::string message = status.error_message();
      EXPECT_LE(message.size(), 200u);
      EXPECT_TRUE(std::ranges::all_of(message, [](char c) { return c >= ' ' && c <= '~'; }));
      EXPECT_EQ(DetailsOf(status).info->reason(), "MODEL_NOT_FOUND");
    }
  }
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(BadModelRequestsTest, MissingNamesAndUnknownFieldsAreRefusedByEveryMethod) {
  Start();
  const std::string before = Snapshot();
  const auto expect = [](const char* method, const grpc::Status& status, const char* field) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_NE(DetailsOf(status).ViolationOf(field), "") << method;
  };
  expect("GetModel", Get({}), "name");
  expect("LoadModel", Load({}), "name");
  expect("UnloadModel", Unload({}), "name");
  expect("UpdateModel", Update({}), "name");
  expect("GetModel", Get(WithUnknownField(Named<v1::GetModelRequest>("fake"))), "1000");
  expect("LoadModel", Load(WithUnknownField(Named<v1::LoadModelRequest>("fake"))), "1000");
  expect("UnloadModel", Unload(WithUnknownField(Named<v1::UnloadModelRequest>("fake"))), "1000");
  expect("ListModels", List(WithUnknownField(v1::ListModelsRequest())), "1000");
  expect("WatchModels", Watch(WithUnknownField(v1::WatchModelsRequest())), "1000");
  grpc::ClientContext info_context;
  v1::GetServerInfoResponse info;
  expect("GetServerInfo",
         server_stub_->GetServerInfo(&info_context, WithUnknownField(v1::GetServerInfoRequest()),
                                     &info),
         "1000");
  grpc::ClientContext capabilities_context;
  v1::GetCapabilitiesResponse capabilities;
  expect("GetCapabilities",
         server_stub_->GetCapabilities(
             &capabilities_context, WithUnknownField(v1::GetCapabilitiesRequest()), &capabilities),
         "1000");
  EXPECT_EQ(Snapshot(), before);
  EXPECT_EQ(controls_->begun, 0);
}

TEST_F(BadModelRequestsTest, PagesOutsideTheirRangeAreRefused) {
  Start();
  for (const int32_t size : {kMin32, -1, 1001, kMax32}) {
    v1::ListModelsRequest request;
    request.set_page_size(size);
    const grpc::Status status = List(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << size;
    EXPECT_THAT(DetailsOf(status).ViolationOf("page_size"), HasSubstr("0 to 1000")) << size;
  }
  for (const std::string& token :
       {std::string("\0", 1), std::string("1\0", 2), std::string("+1"), std::string("0x1"),
        std::string("18446744073709551616"), std::string("1e3"), std::string(1 << 20, '1')}) {
    v1::ListModelsRequest request;
    request.set_page_token(token);
    const grpc::Status status = List(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << token.substr(0, 20);
    EXPECT_NE(DetailsOf(status).ViolationOf("page_token"), "") << token.substr(0, 20);
  }
}

}  // namespace
}  // namespace tightfit
