// The unary method.
#include "server/image/png.h"
#include "server/rpc/reply_size.h"
#include "server/rpc/request_validator.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class GenerateImagesTest : public RpcFixture {
 protected:
  grpc::Status Generate(const v1::GenerateImagesRequest& request) {
    grpc::ClientContext context;
    response_.Clear();
    return images_->GenerateImages(&context, request, &response_);
  }
  v1::GenerateImagesResponse response_;
};

TEST_F(GenerateImagesTest, GivesAllImagesInOneReply) {
  StartServer();
  v1::GenerateImagesRequest request;
  request.set_request_id("one");
  request.mutable_parameters()->set_prompt("a cat");
  request.mutable_parameters()->set_seed(7);
  request.mutable_parameters()->set_image_count(2);
  const grpc::Status status = Generate(request);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response_.request_id(), "one");
  EXPECT_EQ(response_.parameters().seed(), 7);
  EXPECT_EQ(response_.parameters().sampler(), "euler");
  ASSERT_THAT(response_.images(), SizeIs(2));
  for (int32_t i = 0; i < 2; ++i) {
    const v1::GeneratedImage& image = response_.images(i);
    EXPECT_EQ(image.metadata().image_index(), i);
    EXPECT_EQ(image.metadata().seed(), 7 + i);
    EXPECT_EQ(image.metadata().mime_type(), "image/png");
    EXPECT_EQ(image.metadata().size_bytes(), static_cast<int64_t>(image.content().size()));
    const Result<DecodedPng> decoded = DecodePng(
        {reinterpret_cast<const uint8_t*>(image.content().data()), image.content().size()},
        1 << 20);
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(decoded->image.rgb[0], 7 + i);
  }
  EXPECT_GT(response_.timings().total_duration().nanos(), 0);
  EXPECT_TRUE(recorder_.WaitForRecord()->status.ok());
  EXPECT_EQ(recorder_.events().back(), "finished GenerateImages fake 0");
}

TEST_F(GenerateImagesTest, RefusesEarlyWhatMayNotFitAndNamesTheOtherMethod) {
  limits_.max_unary_reply_bytes = 130'000;
  StartServer();
  v1::GenerateImagesRequest request;
  request.mutable_parameters()->set_image_count(2);
  EXPECT_TRUE(Generate(request).ok());
  request.mutable_parameters()->set_image_count(3);
  const grpc::Status status = Generate(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("StreamImages"));
  EXPECT_THAT(DetailsOf(status).ViolationOf("image_count"), HasSubstr("130000"));
  EXPECT_EQ(controls_->begun, 1);

  v1::StreamImagesRequest streamed;
  *streamed.mutable_parameters() = request.parameters();
  EXPECT_TRUE(Stream(streamed).status.ok());
}

TEST_F(GenerateImagesTest, ServesTheLargestCommonImageToADefaultClient) {
  StartServer();
  controls_->noisy = true;  // the worst case: nothing can be compressed
  v1::GenerateImagesRequest request;
  request.mutable_parameters()->set_prompt(std::string(4096, 'x'));
  request.mutable_parameters()->set_negative_prompt(std::string(4096, 'y'));
  request.mutable_parameters()->set_width_px(1024);
  request.mutable_parameters()->set_height_px(1024);
  const grpc::Status status = Generate(request);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_GT(response_.ByteSizeLong(), size_t{3} * 1024 * 1024);

  GenerationParameters parameters;
  parameters.width_px = 1024;
  parameters.height_px = 1024;
  EXPECT_LE(std::ssize(response_.SerializeAsString()), LargestUnaryReplyBytes(parameters));
}

TEST_F(GenerateImagesTest, NoReplyIsLargerThanTheEstimate) {
  StartServer();
  controls_->noisy = true;
  for (const auto& [width, height, count] :
       {std::tuple(16, 16, 8), std::tuple(2048, 16, 4), std::tuple(16, 2048, 4)}) {
    v1::GenerateImagesRequest request;
    v1::ImageParameters& asked = *request.mutable_parameters();
    for (std::string* text : {asked.mutable_prompt(), asked.mutable_prompt_2(),
                              asked.mutable_negative_prompt(), asked.mutable_negative_prompt_2()}) {
      while (text->size() + 2 <= 4096) *text += "\"\n";  // the text that grows most when quoted
    }
    asked.set_width_px(width);
    asked.set_height_px(height);
    asked.set_image_count(count);
    ASSERT_TRUE(Generate(request).ok());
    GenerationParameters parameters;
    parameters.width_px = width;
    parameters.height_px = height;
    parameters.image_count = count;
    EXPECT_LE(std::ssize(response_.SerializeAsString()), LargestUnaryReplyBytes(parameters))
        << width << "x" << height;
  }
}

TEST_F(GenerateImagesTest, CancelStopsTheWork) {
  StartServer();
  StopEveryCall();
  v1::GenerateImagesRequest request;
  request.mutable_parameters()->set_step_count(150);
  grpc::ClientContext context;
  std::promise<grpc::Status> ended;
  images_->async()->GenerateImages(&context, &request, &response_,
                                   [&](grpc::Status status) { ended.set_value(status); });
  gate_.Let(2);
  EXPECT_TRUE(gate_.WaitForArrivals(3));  // begin, step, in the next step
  context.TryCancel();
  EXPECT_EQ(ended.get_future().get().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(LetUntilRecord().status.code(), StatusCode::kCancelled);
  EXPECT_LE(controls_->steps, 3);
  EXPECT_EQ(executor_->running_count(), 0);
  EXPECT_EQ(controls_->live_samplings, 0);
}

TEST_F(GenerateImagesTest, TellsAnErrorOfTheModel) {
  StartServer();
  controls_->on_call = [](const char* call) {
    return call == std::string_view("decode") ? Internal("the decoder failed", "/models/vae.ts")
                                              : OkStatus();
  };
  const grpc::Status status = Generate({});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(status.error_message(), "the decoder failed");
  EXPECT_EQ(status.error_details().find("/models"), std::string::npos);
  EXPECT_EQ(recorder_.WaitForRecord()->status.detail(), "/models/vae.ts");
}

}  // namespace
}  // namespace tightfit
