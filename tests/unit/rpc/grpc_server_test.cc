// Addresses, the wire's bounds, reflection, shutdown.
#include "tests/unit/rpc/reflection_client.h"
#include "tests/unit/rpc/rpc_fixture.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/generic/generic_stub.h>
#include <unistd.h>

#include <filesystem>

namespace tightfit {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

class GrpcServerTest : public RpcFixture {
 protected:
  Result<std::unique_ptr<GrpcServer>> StartSecond(const std::string& listen) {
    return GrpcServer::Start(
        {.listen = listen},
        {.executor = executor_.get(), .registry = registry_.get(), .clock = clock_}, {});
  }
};

TEST_F(GrpcServerTest, TellsThePortThatItGot) {
  StartServer();
  EXPECT_THAT(server_->address(), MatchesRegex("127\\.0\\.0\\.1:[1-9][0-9]*"));
  EXPECT_TRUE(Stream(Request()).status.ok());
}

TEST_F(GrpcServerTest, RefusesAPortInUse) {
  StartServer();
  const Result<std::unique_ptr<GrpcServer>> second = StartSecond(server_->address());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(second.status().reason(), "ADDRESS_IN_USE");
  EXPECT_THAT(second.status().message(), HasSubstr(server_->address()));
  EXPECT_TRUE(Stream(Request()).status.ok()) << "the first server must not notice";
}

TEST_F(GrpcServerTest, RefusesAnAddressThatIsNone) {
  StartServer();
  for (const char* address : {"", "localhost", ":50051", "127.0.0.1:", "127.0.0.1:65536",
                              "127.0.0.1:-1", "127.0.0.1:http", "unix:"}) {
    const Result<std::unique_ptr<GrpcServer>> second = StartSecond(address);
    ASSERT_FALSE(second.ok()) << address;
    EXPECT_EQ(second.status().reason(), "BAD_ADDRESS") << address;
  }
  EXPECT_EQ(StartSecond("192.0.2.1:0").status().reason(), "ADDRESS_IN_USE")
      << "an address of no interface of this machine";
}

TEST_F(GrpcServerTest, ListensOnAUnixSocket) {
  const std::filesystem::path socket =
      std::filesystem::path(::testing::TempDir()) / ("tf" + std::to_string(::getpid()) + ".sock");
  listen_ = "unix:" + socket.string();
  StartServer();
  EXPECT_EQ(server_->address(), listen_);
  EXPECT_TRUE(Stream(Request()).status.ok());
  EXPECT_FALSE(StartSecond(listen_).ok()) << "another server must not take the socket away";
  EXPECT_TRUE(Stream(Request()).status.ok());
  StopServer();
  std::filesystem::remove(socket);
}

TEST_F(GrpcServerTest, ListsItsServicesByReflection) {
  StartServer();
  const std::string text = ListServices(channel_).message;
  for (const char* service : {"tightfit.v1.ImageGenerationService", "tightfit.v1.ModelService",
                              "tightfit.v1.ServerService", "grpc.health.v1.Health"}) {
    EXPECT_THAT(text, HasSubstr(service));
  }
}

TEST_F(GrpcServerTest, RefusesCompressedRequests) {
  StartServer();
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    grpc::ClientContext context;
    context.set_compression_algorithm(algorithm);
    const StreamResult result = Stream(Request(std::string(4000, 'x')), context);
    EXPECT_EQ(result.status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  }
  EXPECT_EQ(controls_->begun, 0);
  EXPECT_TRUE(Stream(Request()).status.ok());
}

TEST_F(GrpcServerTest, RefusesAMessageBeyondTheLimit) {
  StartServer();
  const grpc::Status status = Stream(Request(std::string(10 << 20, 'x'))).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(controls_->begun, 0);
  EXPECT_TRUE(Stream(Request()).status.ok());
}

TEST_F(GrpcServerTest, RefusesAPromptThatIsNoUtf8) {
  StartServer();
  // The message by hand: a client's library would not send it.
  grpc::TemplatedGenericStub<google::protobuf::BytesValue, google::protobuf::BytesValue> stub(
      channel_);
  google::protobuf::BytesValue request;
  request.set_value("\x12\x02\xFF\xFE");  // GenerateImagesRequest.parameters.prompt
  google::protobuf::BytesValue response;
  grpc::ClientContext context;
  std::promise<grpc::Status> ended;
  stub.UnaryCall(&context, "/tightfit.v1.ImageGenerationService/GenerateImages",
                 grpc::StubOptions(), &request, &response,
                 [&](grpc::Status status) { ended.set_value(status); });
  const grpc::Status status = ended.get_future().get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(DetailsOf(status).info->reason(), "MALFORMED_MESSAGE");
  EXPECT_THAT(status.error_message(), HasSubstr("UTF-8"));
  EXPECT_EQ(controls_->begun, 0);
  EXPECT_TRUE(Stream(Request()).status.ok());
}

TEST_F(GrpcServerTest, ShutdownCancelsWhatIsLeftAndReturns) {
  StartServer();
  StopEveryCall();
  grpc::ClientContext context;
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_step_count(150);
  auto reader = images_->StreamImages(&context, request);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  std::future<void> stopped =
      std::async(std::launch::async, [this] { server_->Shutdown(std::chrono::milliseconds(0)); });
  while (stopped.wait_for(std::chrono::milliseconds(5)) != std::future_status::ready) gate_.Let();
  EXPECT_FALSE(ReadToEnd(*reader).status.ok());
  EXPECT_EQ(controls_->live_samplings, 0);
  EXPECT_FALSE(Stream(Request()).status.ok()) << "no new calls";
}

TEST_F(GrpcServerTest, StartsAndStopsAgainAndAgain) {
  for (int i = 0; i < 10; ++i) {
    StartServer();
    EXPECT_TRUE(Stream(Request()).status.ok());
    StopServer();
  }
}

}  // namespace
}  // namespace tightfit
