#include "tests/unit/rpc/rpc_fixture.h"

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

class ServerServiceTest : public RpcFixture {
 protected:
  v1::GetServerInfoResponse Info() {
    grpc::ClientContext context;
    v1::GetServerInfoResponse response;
    const grpc::Status status =
        v1::ServerService::NewStub(channel_)->GetServerInfo(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::GetCapabilitiesResponse Capabilities() {
    grpc::ClientContext context;
    v1::GetCapabilitiesResponse response;
    EXPECT_TRUE(
        v1::ServerService::NewStub(channel_)->GetCapabilities(&context, {}, &response).ok());
    return response;
  }
};

TEST_F(ServerServiceTest, TellsWhatItIs) {
  info_.version = "1.2.3";
  info_.build_commit = "abcdef-dirty";
  info_.libtorch_version = "2.11.0";
  info_.start_time =
      std::chrono::system_clock::time_point(std::chrono::milliseconds(1'700'000'000'250));
  info_.device_name = "cpu";
  info_.device_description = "A processor";
  info_.device_memory = [] { return DeviceMemory{1000, 300, 120}; };
  StartServer();
  const v1::GetServerInfoResponse info = Info();
  EXPECT_EQ(info.version(), "1.2.3");
  EXPECT_EQ(info.build_commit(), "abcdef-dirty");
  EXPECT_EQ(info.libtorch_version(), "2.11.0");
  EXPECT_EQ(info.start_time().seconds(), 1'700'000'000);
  EXPECT_EQ(info.start_time().nanos(), 250'000'000);
  EXPECT_EQ(info.device().name(), "cpu");
  EXPECT_EQ(info.device().description(), "A processor");
  EXPECT_EQ(info.device().total_bytes(), 1000);
  EXPECT_EQ(info.device().used_bytes(), 300);
  EXPECT_EQ(info.device().attributed_bytes(), 120);
  EXPECT_EQ(info.device().unattributed_bytes(), 180);
}

TEST_F(ServerServiceTest, CountsQueuedAndRunningRequests) {
  max_running_requests_ = 1;
  StartServer();
  StopEveryCall();
  grpc::ClientContext running_context;
  auto running = images_->StreamImages(&running_context, Request());
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  grpc::ClientContext queued_context;
  auto queued = images_->StreamImages(&queued_context, Request());
  v1::StreamImagesResponse event;
  ASSERT_TRUE(queued->Read(&event));
  const v1::GetServerInfoResponse info = Info();
  EXPECT_EQ(info.running_request_count(), 1);
  EXPECT_EQ(info.queued_request_count(), 1);
  gate_.Open();
  ReadToEnd(*running);
  ReadToEnd(*queued);
}

TEST_F(ServerServiceTest, PublishesTheLimitsThatItChecks) {
  limits_.max_side_px = 1024;
  limits_.max_queued_requests = 7;
  info_.formats = {{"hf8", 8.0, 1.875}};
  info_.samplers = {"euler-a"};
  StartServer();
  const v1::GetCapabilitiesResponse capabilities = Capabilities();
  EXPECT_EQ(capabilities.min_side_px(), 16);
  EXPECT_EQ(capabilities.max_side_px(), 1024);
  EXPECT_EQ(capabilities.max_area_px(), limits_.max_area_px);
  EXPECT_EQ(capabilities.max_image_count(), 8);
  EXPECT_EQ(capabilities.max_step_count(), 150);
  EXPECT_EQ(capabilities.max_guidance_scale(), 30.0f);
  EXPECT_EQ(capabilities.max_prompt_bytes(), 4096);
  EXPECT_EQ(capabilities.max_pixel_steps(), limits_.max_pixel_steps);
  EXPECT_EQ(capabilities.max_unary_reply_bytes(), limits_.max_unary_reply_bytes);
  EXPECT_EQ(capabilities.max_queued_requests(), 7);
  EXPECT_EQ(capabilities.max_input_image_bytes(), 8 << 20);
  EXPECT_EQ(capabilities.max_input_image_px(), 16 << 20);
  EXPECT_THAT(capabilities.samplers(), ElementsAre("euler-a", "euler"));
  EXPECT_THAT(capabilities.mime_types(), ElementsAre("image/png", "application/x-safetensors"));
  EXPECT_THAT(capabilities.scopes(), ElementsAre("attention", "linear", "linear+conv"));
  ASSERT_THAT(capabilities.formats(), SizeIs(1));
  EXPECT_EQ(capabilities.formats(0).name(), "hf8");
  EXPECT_EQ(capabilities.formats(0).bits_per_weight(), 8.0);
  EXPECT_EQ(capabilities.formats(0).max_value(), 1.875);

  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_width_px(capabilities.max_side_px() + 4);
  EXPECT_EQ(Stream(request).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServerServiceTest, RefusesUnknownFields) {
  StartServer();
  v1::GetCapabilitiesRequest request;
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(1, 1);
  grpc::ClientContext context;
  v1::GetCapabilitiesResponse response;
  const grpc::Status status =
      v1::ServerService::NewStub(channel_)->GetCapabilities(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(DetailsOf(status).ViolationOf("1"), "");
}

}  // namespace
}  // namespace tightfit
