// Memory that runs out while an image is encoded ends that request, and nothing else.
#include "tests/unit/rpc/rpc_fixture.h"

#include <atomic>
#include <new>
#include <stdexcept>

namespace tightfit {
namespace {

// Throws where an encoded image is told of: on the encoding thread, beside all that it allocates.
class ThrowingObserver final : public RpcObserver {
 public:
  void OnStage(const std::string&, Stage, std::chrono::nanoseconds) override {
    if (mode == 1) throw std::bad_alloc();
    if (mode == 2) throw std::runtime_error("a secret of the server");
  }
  std::atomic<int> mode{0};
};

class EncodeFailureTest : public RpcFixture {
 protected:
  void StartThrowing() {
    StartServer();
    server_->Shutdown(std::chrono::milliseconds(0));
    auto server = GrpcServer::Start({.listen = "127.0.0.1:0"},
                                    {.executor = executor_.get(),
                                     .registry = registry_.get(),
                                     .clock = clock_,
                                     .observer = &observer_},
                                    info_);
    ASSERT_TRUE(server.ok());
    server_ = std::move(server).value();
    channel_ = Connect();
    images_ = v1::ImageGenerationService::NewStub(channel_);
  }

  ThrowingObserver observer_;
};

TEST_F(EncodeFailureTest, EndsTheOneRequestWithAReason) {
  StartThrowing();
  observer_.mode = 1;
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_image_count(3);
  const grpc::Status no_memory = Stream(request).status;
  EXPECT_EQ(no_memory.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(no_memory).info->reason(), "OUT_OF_MEMORY");
  observer_.mode = 2;
  const grpc::Status failed = Stream(Request()).status;
  EXPECT_EQ(failed.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(failed.error_message(), ::testing::Not(::testing::HasSubstr("secret")));
  observer_.mode = 0;
  EXPECT_TRUE(Stream(Request()).status.ok());
  StopServer();
}

}  // namespace
}  // namespace tightfit
