// Requests that draw over an image: what reaches the model, and what is told.
#include "server/base/strength.h"
#include "server/rpc/image_inputs.h"
#include "tests/support/input_image_files.h"
#include "tests/unit/rpc/rpc_fixture.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

class ImageRequestsTest : public RpcFixture {
 protected:
  static v1::StreamImagesRequest DrawOver(const std::string& image) {
    v1::StreamImagesRequest request = Request();
    request.mutable_parameters()->set_init_image(image);
    return request;
  }

  // Asks, and gives what the answer says of the parameters; what began is in controls_.
  v1::ResolvedParameters Draw(const v1::StreamImagesRequest& request) {
    const StreamResult result = Stream(request);
    EXPECT_TRUE(result.status.ok()) << result.status.error_message();
    for (const v1::StreamImagesResponse& event : result.events) {
      if (event.has_started()) return event.started().parameters();
    }
    return {};
  }
};

TEST_F(ImageRequestsTest, GiveTheModelTheImageItselfWithItsSizeAndTheDefaultStrength) {
  StartServer();
  const v1::ResolvedParameters resolved = Draw(DrawOver(GradientPng(32, 48)));
  EXPECT_EQ(resolved.width_px(), 32);
  EXPECT_EQ(resolved.height_px(), 48);
  EXPECT_EQ(resolved.strength(), 0.3);
  const GenerationParameters begun = controls_->LastBegun();
  ASSERT_NE(begun.init_image, nullptr);
  EXPECT_EQ(begun.init_image->width_px, 32);
  EXPECT_EQ(begun.init_image->height_px, 48);
  ASSERT_EQ(begun.init_image->rgb.size(), size_t{32} * 48 * 3);
  EXPECT_EQ(begun.init_image->rgb[(size_t{47} * 32 + 31) * 3], 31);
  EXPECT_EQ(begun.init_image->rgb[(size_t{47} * 32 + 31) * 3 + 1], 47);
  EXPECT_EQ(begun.mask, nullptr);
  EXPECT_EQ(begun.strength, 0.3);
}

TEST_F(ImageRequestsTest, TakeTheSizeRoundedDownToWhatTheModelTakes) {
  StartServer();
  const v1::ResolvedParameters resolved = Draw(DrawOver(GradientPng(67, 65)));
  EXPECT_EQ(resolved.width_px(), 64);
  EXPECT_EQ(resolved.height_px(), 64);
  EXPECT_EQ(controls_->LastBegun().init_image->width_px, 64);
  EXPECT_EQ(controls_->LastBegun().init_image->rgb.size(), size_t{64} * 64 * 3);
}

TEST_F(ImageRequestsTest, ResizeTheImageToTheSizeThatIsAskedFor) {
  StartServer();
  v1::StreamImagesRequest request = DrawOver(GradientPng(48, 32));
  request.mutable_parameters()->set_width_px(16);
  const v1::ResolvedParameters resolved = Draw(request);
  EXPECT_EQ(resolved.width_px(), 16);
  EXPECT_EQ(resolved.height_px(), 32) << "the image's own";
  EXPECT_EQ(controls_->LastBegun().init_image->rgb.size(), size_t{16} * 32 * 3);
}

TEST_F(ImageRequestsTest, KeepAStrengthAsADouble) {
  StartServer();
  v1::StreamImagesRequest request = DrawOver(GradientPng(64, 64));
  request.mutable_parameters()->set_strength(0.7);
  EXPECT_EQ(Draw(request).strength(), 0.7);
  EXPECT_EQ(controls_->LastBegun().strength, 0.7);
}

TEST_F(ImageRequestsTest, TellNoStrengthWithoutAnImage) {
  StartServer();
  EXPECT_EQ(Draw(Request()).strength(), 0.0);
  EXPECT_EQ(controls_->LastBegun().init_image, nullptr);
}

TEST_F(ImageRequestsTest, GiveTheModelAMaskOfTwoValues) {
  StartServer();
  std::string greys;
  for (int i = 0; i < 16 * 16; ++i) greys += static_cast<char>(i);
  v1::StreamImagesRequest request = DrawOver(GradientPng(16, 16));
  v1::ImageParameters& parameters = *request.mutable_parameters();
  parameters.set_mask(PngFile(16, 16, PngColours::kGrey, greys));
  EXPECT_EQ(Draw(request).strength(), 0.9999);
  GenerationParameters begun = controls_->LastBegun();
  ASSERT_NE(begun.mask, nullptr);
  EXPECT_EQ(begun.mask->width_px, 16);
  for (size_t i = 0; i < 256; ++i) EXPECT_EQ(begun.mask->drawn[i], i >= 128 ? 255 : 0) << i;
  EXPECT_TRUE(begun.keep_unmasked_pixels);

  parameters.set_keep_unmasked_pixels(false);
  parameters.set_width_px(32);
  parameters.set_height_px(32);
  Draw(request);
  begun = controls_->LastBegun();
  EXPECT_FALSE(begun.keep_unmasked_pixels);
  ASSERT_EQ(begun.mask->drawn.size(), size_t{32} * 32);
  EXPECT_TRUE(std::ranges::all_of(begun.mask->drawn, [](int v) { return v == 0 || v == 255; }));
}

TEST_F(ImageRequestsTest, AreAnsweredByEveryMethodAlike) {
  StartServer();
  v1::GenerateImagesRequest unary;
  unary.mutable_parameters()->set_init_image(GradientPng(32, 48));
  unary.mutable_parameters()->set_strength(1.0);
  grpc::ClientContext contexts[2];
  v1::GenerateImagesResponse response;
  const grpc::Status status = images_->GenerateImages(&contexts[0], unary, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.parameters().strength(), 1.0);
  EXPECT_EQ(response.parameters().height_px(), 48);

  v1::EstimateImagesRequest estimated;
  *estimated.mutable_parameters() = unary.parameters();
  v1::EstimateImagesResponse estimate;
  ASSERT_TRUE(images_->EstimateImages(&contexts[1], estimated, &estimate).ok());
  EXPECT_EQ(estimate.parameters().strength(), 1.0);
  EXPECT_EQ(estimate.parameters().height_px(), 48);
  EXPECT_EQ(controls_->begun, 1) << "an estimate draws nothing";
}

TEST_F(ImageRequestsTest, ToAModelThatCannotTakeThemSayWhatToDo) {
  controls_->describe = [](ModelDescription* model) { model->takes_init_image = false; };
  StartServer();
  const grpc::Status status = Stream(DrawOver(GradientPng(64, 64))).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(DetailsOf(status).ViolationOf("init_image"),
              HasSubstr("model fake has none of: export it again"));
  const auto takes = [&] {
    grpc::ClientContext context;
    v1::GetModelRequest request;
    request.set_name("fake");
    v1::GetModelResponse response;
    const auto models = v1::ModelService::NewStub(channel_);
    EXPECT_TRUE(models->GetModel(&context, request, &response).ok());
    return response.model().takes_init_image();
  };
  EXPECT_FALSE(takes());
  StopServer();
  controls_->describe = nullptr;
  StartServer();
  EXPECT_TRUE(takes());
  EXPECT_TRUE(Stream(DrawOver(GradientPng(64, 64))).status.ok());
}

TEST_F(ImageRequestsTest, CountWhatTheirImagesTake) {
  const std::string image = GradientPng(64, 64);
  // What an answer of 64 x 64 may take stands in limits_test.cc; here the difference counts.
  constexpr int64_t kRaw = (64 * 3 + 1) * 64;
  constexpr int64_t kReply = kRaw + kRaw / 256 + (48 << 10);
  const int64_t needed = kReply + std::ssize(image) + 64 * 64 * 3;
  for (const int64_t missing : {0, 1}) {
    limits_.max_undelivered_image_bytes = needed - missing;
    StartServer();
    const grpc::Status status = Stream(DrawOver(image)).status;
    EXPECT_EQ(status.ok(), missing == 0);
    if (missing == 1) {
      EXPECT_EQ(DetailsOf(status).info->reason(), "IMAGES_UNDELIVERED");
    }
    // A call gives back what it took when gRPC lets go of it, which its client does not see.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    bool is_served = false;
    while (!is_served && std::chrono::steady_clock::now() < deadline) {
      is_served = Stream(Request()).status.ok();
    }
    EXPECT_TRUE(is_served) << "all was given back";
    StopServer();
  }
}

TEST_F(ImageRequestsTest, ThatNobodyWaitsForEndAllTheSame) {
  StartServer();
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    const auto reader = images_->StreamImages(&context, DrawOver(GradientPng(512, 512)));
    context.TryCancel();
    EXPECT_EQ(ReadToEnd(*reader).status.error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(Stream(DrawOver(GradientPng(64, 64))).status.ok());
}

TEST(StepsOfStrengthTest, AreCutInDoubleAsDiffusersCutsThem) {
  EXPECT_EQ(StepsOfStrength(0.7, 10), 7);
  EXPECT_EQ(StepsOfStrength(static_cast<double>(0.7f), 10), 6) << "what a float would lose";
  EXPECT_EQ(StepsOfStrength(0.29, 10), 2);
  EXPECT_EQ(StepsOfStrength(0.58, 50), 28);
  EXPECT_EQ(StepsOfStrength(0.29, 100), 28);
  EXPECT_EQ(StepsOfStrength(0.9999, 10), 9);
  EXPECT_EQ(StepsOfStrength(1.0, 150), 150);
  EXPECT_EQ(StepsOfStrength(0.0999, 10), 0);
}

}  // namespace
}  // namespace tightfit
