// Requests to models of other families than SDXL: what they refuse by name, and what they tell.
#include "tests/support/input_image_files.h"
#include "tests/unit/rpc/rpc_fixture.h"

#include <string>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

class FamilyRequestsTest : public RpcFixture {
 protected:
  void ServeSd1() {
    controls_->describe = [](ModelDescription* model) {
      model->family = "sd1";
      model->takes_second_prompt = false;
      model->takes_sizes = false;
    };
    StartServer();
  }
};

TEST_F(FamilyRequestsTest, RefuseFieldsThatTheModelHasNoUseFor) {
  ServeSd1();
  v1::StreamImagesRequest request = Request();
  v1::ImageParameters& asked = *request.mutable_parameters();
  asked.set_prompt_2("a pear");
  asked.set_negative_prompt_2("fog");
  asked.mutable_original_size()->set_width_px(64);
  asked.mutable_original_size()->set_height_px(64);
  asked.mutable_target_size()->CopyFrom(asked.original_size());
  asked.mutable_crop_top_left()->set_left_px(1);
  const grpc::Status status = Stream(request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const auto details = DetailsOf(status);
  EXPECT_THAT(details.ViolationOf("prompt_2"), HasSubstr("sd1, which has one text encoder"));
  EXPECT_THAT(details.ViolationOf("negative_prompt_2"), HasSubstr("one text encoder"));
  for (const char* field : {"original_size", "target_size", "crop_top_left"}) {
    EXPECT_THAT(details.ViolationOf(field), HasSubstr("is told of no sizes")) << field;
  }
  EXPECT_EQ(controls_->begun, 0);
}

TEST_F(FamilyRequestsTest, AreToldNoSizesWhereTheModelIsToldNone) {
  ServeSd1();
  const StreamResult result = Stream(Request());
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  const v1::ResolvedParameters& resolved = result.events.at(1).started().parameters();
  EXPECT_FALSE(resolved.has_original_size());
  EXPECT_FALSE(resolved.has_target_size());
  EXPECT_FALSE(resolved.has_crop_top_left());
}

TEST_F(FamilyRequestsTest, ToAnInpaintingModelNeedAnImageAndAMask) {
  controls_->describe = [](ModelDescription* model) { model->needs_mask = true; };
  StartServer();
  v1::StreamImagesRequest request = Request();
  EXPECT_THAT(DetailsOf(Stream(request).status).ViolationOf("init_image"), HasSubstr("inpainting"));
  request.mutable_parameters()->set_init_image(GradientPng(64, 64));
  EXPECT_THAT(DetailsOf(Stream(request).status).ViolationOf("mask"), HasSubstr("inpainting"));
  request.mutable_parameters()->set_mask(GradientPng(64, 64));
  EXPECT_TRUE(Stream(request).status.ok());
  request.mutable_parameters()->clear_mask();
  request.mutable_parameters()->mutable_outpaint();
  EXPECT_THAT(DetailsOf(Stream(request).status).ViolationOf("mask"), HasSubstr("inpainting"));
  request.mutable_parameters()->mutable_outpaint()->set_right_px(16);
  EXPECT_TRUE(Stream(request).status.ok()) << "what is around the image is a mask too";
}

TEST_F(FamilyRequestsTest, ToADistilledModelMakeOneRowAnImage) {
  controls_->describe = [](ModelDescription* model) { model->embeds_guidance = true; };
  StartServer();
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_guidance_scale(8.0f);
  ASSERT_TRUE(Stream(request).status.ok());
  const GenerationParameters begun = controls_->LastBegun();
  EXPECT_EQ(begun.guidance_scale, 8.0f);
  EXPECT_FALSE(UsesGuidance(begun));
}

}  // namespace
}  // namespace tightfit
