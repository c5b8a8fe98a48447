// grpc.health.v1.Health. Its messages have the wire form of two well-known wrappers: a string in
// field 1, an enum in field 1.
#include "tests/unit/rpc/rpc_fixture.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/generic/generic_stub.h>

namespace tightfit {
namespace {

constexpr int kServing = 1;
constexpr int kNotServing = 2;
constexpr int kUnknownService = -1;

constexpr char kImageService[] = "tightfit.v1.ImageGenerationService";
constexpr char kModelService[] = "tightfit.v1.ModelService";
constexpr char kServerService[] = "tightfit.v1.ServerService";

class HealthTest : public RpcFixture {
 protected:
  // The ServingStatus of `name`, or kUnknownService for NOT_FOUND.
  int Check(const std::string& name) {
    grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value> stub(
        channel_);
    google::protobuf::StringValue request;
    request.set_value(name);
    google::protobuf::Int32Value response;
    grpc::ClientContext context;
    std::promise<grpc::Status> ended;
    stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request,
                   &response, [&](grpc::Status status) { ended.set_value(status); });
    const grpc::Status status = ended.get_future().get();
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) return kUnknownService;
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.value();
  }

  // Loads stop at gate_, one after the other.
  void StopEveryLoad(const std::string& failing = {}) {
    loader_ = [this, failing](const ModelSpec& spec, const auto& progress) {
      gate_.Pass();
      return FakeLoader(controls_, failing, Internal("no"))(spec, progress);
    };
  }
};

TEST_F(HealthTest, EveryModelServesWhenItIsResident) {
  models_ = {"a", "b"};
  StopEveryLoad();
  StartServer(/*wait_until_loaded=*/false);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  EXPECT_EQ(Check("model/a"), kNotServing);
  EXPECT_EQ(Check("model/b"), kNotServing);
  gate_.Let();
  ASSERT_TRUE(gate_.WaitForArrivals(2));
  EXPECT_EQ(Check("model/a"), kServing);
  EXPECT_EQ(Check("model/b"), kNotServing);
}

TEST_F(HealthTest, AModelThatFailedNeverServes) {
  models_ = {"bad", "good"};
  loader_ = FakeLoader(controls_, "bad", Internal("no"));
  StartServer();
  EXPECT_EQ(Check("model/bad"), kNotServing);
  EXPECT_EQ(Check("model/good"), kServing);
}

TEST_F(HealthTest, TheServerIsReadyWhenItIsTold) {
  StartServer();
  EXPECT_EQ(Check(""), kNotServing);
  EXPECT_EQ(Check(kImageService), kNotServing);
  EXPECT_EQ(Check(kModelService), kServing);
  EXPECT_EQ(Check(kServerService), kServing);
  server_->SetReady(true);
  EXPECT_EQ(Check(""), kServing);
  EXPECT_EQ(Check(kImageService), kServing);
  server_->SetServing("model/fake", false);
  EXPECT_EQ(Check("model/fake"), kNotServing);
  server_->SetReady(false);
  EXPECT_EQ(Check(""), kNotServing);
}

TEST_F(HealthTest, NothingServesOnceTheServerStops) {
  StartServer();
  server_->SetReady(true);
  server_->StopServing();
  for (const char* name : {"", kImageService, kModelService, kServerService, "model/fake"}) {
    EXPECT_EQ(Check(name), kNotServing) << name;
  }
  server_->SetReady(true);
  EXPECT_EQ(Check(""), kNotServing) << "there is no way back";
  EXPECT_TRUE(Stream(Request()).status.ok()) << "calls are answered until the drain";
}

TEST_F(HealthTest, AnUnknownNameIsNotFound) {
  StartServer();
  EXPECT_EQ(Check("model/other"), kUnknownService);
  EXPECT_EQ(Check("other"), kUnknownService);
}

TEST_F(HealthTest, TheRegistryMayOutliveTheServer) {
  StartServer();
  server_->Shutdown(std::chrono::milliseconds(0));
  server_.reset();
  registry_->SetFailed("fake", Internal("after the server"));
  executor_.reset();
}

}  // namespace
}  // namespace tightfit
