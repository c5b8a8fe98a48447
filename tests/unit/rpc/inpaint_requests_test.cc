// Requests whose mask is blurred, whose mask alone is drawn, or whose image is made larger: what
// reaches the model, and what is answered.
#include "server/image/png.h"
#include "tests/support/input_image_files.h"
#include "tests/unit/rpc/rpc_fixture.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;
using Rgb = std::vector<int>;

// Of seed 7: what FakeDiffusionModel draws.
const Rgb kDrawn = {7, 0, 128};

struct Answer {
  v1::ResolvedParameters parameters;
  v1::Completed completed;
  DecodedPng png;

  Rgb At(int x, int y) const {
    const RgbImage& image = png.image;
    const auto at = image.rgb.begin() + (std::ptrdiff_t{3} * (y * image.width_px + x));
    return {at[0], at[1], at[2]};
  }
};

// Of GradientPng.
Rgb Gradient(int x, int y) { return {x & 255, y & 255, (x ^ y) & 255}; }

// A grey PNG, white within the box.
std::string BoxMaskPng(int width_px, int height_px, const PixelBox& box, char value = '\xFF') {
  std::string pixels(static_cast<size_t>(width_px * height_px), '\0');
  for (int y = box.top_px; y < box.top_px + box.height_px; ++y) {
    for (int x = box.left_px; x < box.left_px + box.width_px; ++x) {
      pixels[static_cast<size_t>(y * width_px + x)] = value;
    }
  }
  return PngFile(static_cast<uint32_t>(width_px), static_cast<uint32_t>(height_px),
                 PngColours::kGrey, pixels);
}

class InpaintRequestsTest : public RpcFixture {
 protected:
  static v1::StreamImagesRequest DrawOver(const std::string& image, const std::string& mask = "") {
    v1::StreamImagesRequest request = Request();
    v1::ImageParameters& parameters = *request.mutable_parameters();
    parameters.set_seed(7);
    parameters.set_init_image(image);
    if (!mask.empty()) parameters.set_mask(mask);
    return request;
  }

  static v1::StreamImagesRequest DrawMaskedArea(const std::string& image, const std::string& mask) {
    v1::StreamImagesRequest request = DrawOver(image, mask);
    request.mutable_parameters()->set_inpaint_area(v1::INPAINT_AREA_MASKED);
    return request;
  }

  Answer Draw(const v1::StreamImagesRequest& request) {
    const StreamResult result = Stream(request);
    EXPECT_TRUE(result.status.ok()) << result.status.error_message();
    Answer answer;
    std::string content;
    for (const v1::StreamImagesResponse& event : result.events) {
      if (event.has_started()) answer.parameters = event.started().parameters();
      if (event.has_image_chunk()) content += event.image_chunk().content();
      if (event.has_completed()) answer.completed = event.completed();
    }
    Result<DecodedPng> png =
        DecodePng({reinterpret_cast<const uint8_t*>(content.data()), content.size()}, 1 << 22);
    EXPECT_TRUE(png.ok());
    if (png.ok()) answer.png = *std::move(png);
    return answer;
  }

  std::string RefusalOf(const v1::StreamImagesRequest& request, const char* field) {
    const grpc::Status status = Stream(request).status;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.ok() ? "" : DetailsOf(status).ViolationOf(field);
  }
};

TEST_F(InpaintRequestsTest, MixPixelsByABlurredMaskAndCutItForLatents) {
  StartServer();
  const std::string black = PngFile(64, 64, PngColours::kGrey, std::string(64 * 64, '\0'));
  v1::StreamImagesRequest request = DrawOver(black, HalfMaskPng(64, 64, 32));
  request.mutable_parameters()->set_mask_blur_px(4);
  const Answer answer = Draw(request);
  EXPECT_EQ(answer.parameters.mask_blur_px(), 4);
  EXPECT_EQ(answer.parameters.inpaint_area(), v1::INPAINT_AREA_WHOLE_IMAGE);
  EXPECT_EQ(answer.parameters.inpaint_padding_px(), 0);
  EXPECT_FALSE(answer.parameters.has_outpaint());
  const GenerationParameters begun = controls_->LastBegun();
  EXPECT_FALSE(begun.keep_unmasked_pixels) << "or a model would cut what is to be mixed";
  for (int x = 0; x < 64; ++x) {
    EXPECT_EQ(begun.mask->drawn[static_cast<size_t>(x)], x < 32 ? 0 : 255) << x;
    // The share of a Gaussian that lies beyond the edge.
    const double share = 0.5 * (1.0 + std::erf((x + 0.5 - 32) / (4 * std::numbers::sqrt2)));
    EXPECT_NEAR(answer.At(x, 20)[2] / 128.0, share, 0.03) << x;
  }
  EXPECT_EQ(answer.At(0, 0), (Rgb{0, 0, 0})) << "to the bit";
  EXPECT_EQ(answer.At(63, 63), kDrawn);
}

TEST_F(InpaintRequestsTest, KeepNoPixelsOfABlurredMaskIfNoneAreToBeKept) {
  StartServer();
  v1::StreamImagesRequest request = DrawOver(GradientPng(64, 64), HalfMaskPng(64, 64, 32));
  request.mutable_parameters()->set_mask_blur_px(4);
  request.mutable_parameters()->set_keep_unmasked_pixels(false);
  EXPECT_EQ(Draw(request).At(0, 0), kDrawn);
  EXPECT_FALSE(controls_->LastBegun().keep_unmasked_pixels);
}

TEST_F(InpaintRequestsTest, LeaveAMaskWithoutBlurAsItIs) {
  StartServer();
  v1::StreamImagesRequest request = DrawOver(GradientPng(64, 64), HalfMaskPng(64, 64, 32));
  request.mutable_parameters()->set_mask_blur_px(0);
  request.mutable_parameters()->set_inpaint_area(v1::INPAINT_AREA_WHOLE_IMAGE);
  Draw(request);
  EXPECT_EQ(controls_->LastBegun().composition, nullptr);
  EXPECT_TRUE(controls_->LastBegun().keep_unmasked_pixels);
}

TEST_F(InpaintRequestsTest, DrawTheSurroundingsOfTheMaskInTheModelsSize) {
  StartServer();
  v1::StreamImagesRequest request =
      DrawMaskedArea(GradientPng(200, 100), BoxMaskPng(200, 100, {100, 40, 10, 10}));
  request.mutable_parameters()->set_inpaint_padding_px(8);
  const Answer answer = Draw(request);
  EXPECT_EQ(answer.parameters.width_px(), 64) << "what is drawn";
  EXPECT_EQ(answer.parameters.height_px(), 64);
  EXPECT_EQ(answer.parameters.original_size().width_px(), 64);
  EXPECT_EQ(answer.parameters.inpaint_area(), v1::INPAINT_AREA_MASKED);
  EXPECT_EQ(answer.parameters.inpaint_padding_px(), 8);
  EXPECT_EQ(answer.parameters.strength(), 0.9999);
  EXPECT_THAT(answer.png.text.at("parameters"), HasSubstr("Size: 64x64, "));
  EXPECT_THAT(answer.png.text.at("parameters"),
              HasSubstr(", Mask blur: 0, Inpaint area: Only masked, Masked area padding: 8, "));

  const GenerationParameters begun = controls_->LastBegun();
  ASSERT_NE(begun.composition, nullptr);
  const PixelBox& box = begun.composition->box;
  EXPECT_EQ(box.left_px, 92);
  EXPECT_EQ(box.top_px, 32);
  EXPECT_EQ(box.width_px, 26);
  EXPECT_EQ(box.height_px, 26);
  EXPECT_EQ(begun.init_image->rgb.size(), size_t{3} * 64 * 64);
  EXPECT_EQ(begun.mask->drawn.size(), size_t{64} * 64);
  EXPECT_EQ(std::ranges::count(begun.mask->drawn, 255), 24 * 24) << "10 of 26 pixels are 24 of 64";
  EXPECT_FALSE(begun.keep_unmasked_pixels);

  ASSERT_EQ(answer.completed.images_size(), 1);
  EXPECT_EQ(answer.completed.images(0).width_px(), 200) << "the size of init_image";
  EXPECT_EQ(answer.completed.images(0).height_px(), 100);
  ASSERT_EQ(answer.png.image.width_px, 200);
  ASSERT_EQ(answer.png.image.height_px, 100);
  for (int y = 0; y < 100; ++y) {
    for (int x = 0; x < 200; ++x) {
      const bool is_drawn = x >= 100 && x < 110 && y >= 40 && y < 50;
      ASSERT_EQ(answer.At(x, y), is_drawn ? kDrawn : Gradient(x, y)) << x << ", " << y;
    }
  }
}

TEST_F(InpaintRequestsTest, SeeTheDefaultPaddingAndTheSizeThatIsAskedFor) {
  StartServer();
  v1::StreamImagesRequest request =
      DrawMaskedArea(GradientPng(200, 100), BoxMaskPng(200, 100, {100, 40, 10, 10}));
  request.mutable_parameters()->set_width_px(128);
  request.mutable_parameters()->set_height_px(64);
  const Answer answer = Draw(request);
  EXPECT_EQ(answer.parameters.inpaint_padding_px(), 32);
  EXPECT_EQ(answer.parameters.width_px(), 128);
  const PixelBox box = controls_->LastBegun().composition->box;
  EXPECT_EQ(box.width_px, 148) << "of the aspect of 128 x 64";
  EXPECT_EQ(box.height_px, 74);
  EXPECT_EQ(answer.png.image.width_px, 200);
}

TEST_F(InpaintRequestsTest, BlurTheMaskBeforeItsBoxIsFound) {
  StartServer();
  v1::StreamImagesRequest request =
      DrawMaskedArea(GradientPng(200, 100), BoxMaskPng(200, 100, {100, 40, 10, 10}));
  request.mutable_parameters()->set_inpaint_padding_px(0);
  request.mutable_parameters()->set_mask_blur_px(3);
  const Answer answer = Draw(request);
  EXPECT_GT(controls_->LastBegun().composition->box.width_px, 14);
  EXPECT_EQ(answer.At(0, 0), Gradient(0, 0));
  const Rgb edge = answer.At(100, 45);
  EXPECT_GT(edge[0], kDrawn[0]) << "half of it is the image";
  EXPECT_LT(edge[0], 100);
}

TEST_F(InpaintRequestsTest, GiveLatentsOfTheSurroundings) {
  StartServer();
  v1::StreamImagesRequest request =
      DrawMaskedArea(GradientPng(200, 100), BoxMaskPng(200, 100, {100, 40, 10, 10}));
  request.mutable_parameters()->set_mime_type("application/x-safetensors");
  const StreamResult result = Stream(request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.events.back().completed().images(0).width_px(), 64);
  EXPECT_EQ(controls_->LastBegun().composition, nullptr);
}

TEST_F(InpaintRequestsTest, RefuseAMaskThatLeavesNothingToDraw) {
  StartServer();
  const std::string image = GradientPng(64, 64);
  EXPECT_EQ(RefusalOf(DrawMaskedArea(image, BoxMaskPng(64, 64, {})), "mask"),
            "is black all over, so that INPAINT_AREA_MASKED has nothing to draw");
  v1::StreamImagesRequest faint = DrawMaskedArea(image, BoxMaskPng(64, 64, {9, 9, 1, 1}, '\1'));
  EXPECT_TRUE(Stream(faint).status.ok()) << "the box is of all that is not 0";
  faint.mutable_parameters()->set_mask_blur_px(9);
  EXPECT_THAT(RefusalOf(faint, "mask"), HasSubstr("is black all over once it is blurred"));
  EXPECT_TRUE(Stream(DrawOver(image, BoxMaskPng(64, 64, {}))).status.ok())
      << "of the whole image the image itself comes back";
}

TEST_F(InpaintRequestsTest, AreBoundedByTheSizeOfTheirAnswers) {
  limits_.max_image_count = 4;
  limits_.max_area_px = 10'000;
  StartServer();
  v1::StreamImagesRequest request =
      DrawMaskedArea(GradientPng(200, 100), BoxMaskPng(200, 100, {100, 40, 10, 10}));
  request.mutable_parameters()->set_image_count(2);
  EXPECT_TRUE(Stream(request).status.ok()) << "40000 pixels, as many as 4 images of 10000 have";
  request.mutable_parameters()->set_image_count(3);
  EXPECT_THAT(RefusalOf(request, "image_count"),
              HasSubstr("3 answers of 200 x 100 pixels, which INPAINT_AREA_MASKED leaves as large "
                        "as init_image, makes 60000, but they may be at most 40000"));
}

TEST_F(InpaintRequestsTest, CountTheSizeOfTheirAnswersForAUnaryReply) {
  StartServer();
  v1::GenerateImagesRequest unary;
  *unary.mutable_parameters() =
      DrawMaskedArea(GradientPng(1300, 1100), BoxMaskPng(1300, 1100, {100, 40, 10, 10}))
          .parameters();
  v1::GenerateImagesResponse response;
  grpc::ClientContext contexts[3];
  const grpc::Status refused = images_->GenerateImages(&contexts[0], unary, &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(DetailsOf(refused).ViolationOf("image_count"), HasSubstr("use StreamImages"));
  v1::EstimateImagesRequest estimated;
  *estimated.mutable_parameters() = unary.parameters();
  v1::EstimateImagesResponse estimate;
  ASSERT_TRUE(images_->EstimateImages(&contexts[1], estimated, &estimate).ok());
  EXPECT_EQ(estimate.parameters().width_px(), 64) << "what work and memory depend on";
  EXPECT_EQ(estimate.parameters().inpaint_area(), v1::INPAINT_AREA_MASKED);
  unary.mutable_parameters()->clear_inpaint_area();
  unary.mutable_parameters()->set_width_px(64);
  unary.mutable_parameters()->set_height_px(64);
  EXPECT_TRUE(images_->GenerateImages(&contexts[2], unary, &response).ok());
}

TEST_F(InpaintRequestsTest, CountWhatTheirImagesTake) {
  const std::string image = GradientPng(200, 100);
  const std::string mask = BoxMaskPng(200, 100, {100, 40, 10, 10});
  v1::StreamImagesRequest request = DrawMaskedArea(image, mask);
  request.mutable_parameters()->set_inpaint_padding_px(8);
  constexpr int64_t kRaw = (200 * 3 + 1) * 100;
  constexpr int64_t kReply = kRaw + kRaw / 256 + (48 << 10);
  // What is drawn over, its mask, the image that it goes back into, and the box of the mask.
  constexpr int64_t kHeld = 64 * 64 * 3 + 64 * 64 + 200 * 100 * 3 + 26 * 26;
  const int64_t needed = kReply + kHeld + std::ssize(image) + std::ssize(mask);
  for (const int64_t missing : {0, 1}) {
    limits_.max_undelivered_image_bytes = needed - missing;
    StartServer();
    const grpc::Status status = Stream(request).status;
    EXPECT_EQ(status.ok(), missing == 0);
    if (missing == 1) {
      EXPECT_EQ(DetailsOf(status).info->reason(), "IMAGES_UNDELIVERED");
    }
    StopServer();
  }
}

TEST_F(InpaintRequestsTest, MakeAnImageLargerAndDrawThere) {
  StartServer();
  v1::StreamImagesRequest request = DrawOver(GradientPng(64, 64));
  v1::Margins& outpaint = *request.mutable_parameters()->mutable_outpaint();
  outpaint.set_left_px(4);
  outpaint.set_top_px(16);
  outpaint.set_right_px(28);
  const Answer answer = Draw(request);
  EXPECT_EQ(answer.parameters.width_px(), 96);
  EXPECT_EQ(answer.parameters.height_px(), 80);
  EXPECT_EQ(answer.parameters.strength(), 0.9999);
  EXPECT_EQ(answer.parameters.outpaint().left_px(), 4);
  EXPECT_EQ(answer.parameters.outpaint().top_px(), 16);
  EXPECT_EQ(answer.parameters.outpaint().right_px(), 28);
  EXPECT_EQ(answer.parameters.outpaint().bottom_px(), 0);
  EXPECT_THAT(answer.png.text.at("parameters"), HasSubstr(", Outpaint: \"4,16,28,0\", "));
  const GenerationParameters begun = controls_->LastBegun();
  for (int y = 0; y < 80; ++y) {
    for (int x = 0; x < 96; ++x) {
      const auto at = static_cast<size_t>(y * 96 + x);
      const bool is_margin = x < 4 || x >= 68 || y < 16;
      ASSERT_EQ(begun.mask->drawn[at], is_margin ? 255 : 0) << x << ", " << y;
      const Rgb nearest = Gradient(std::clamp(x - 4, 0, 63), std::clamp(y - 16, 0, 63));
      const auto pixel = begun.init_image->rgb.begin() + static_cast<std::ptrdiff_t>(3 * at);
      ASSERT_EQ(Rgb(pixel, pixel + 3), nearest) << x << ", " << y;
    }
  }
  EXPECT_TRUE(begun.keep_unmasked_pixels);
}

TEST_F(InpaintRequestsTest, DrawInTheMaskAndInTheMargins) {
  StartServer();
  v1::StreamImagesRequest request =
      DrawOver(GradientPng(64, 64), BoxMaskPng(64, 64, {10, 20, 5, 6}));
  request.mutable_parameters()->mutable_outpaint()->set_left_px(16);
  Draw(request);
  const GenerationParameters begun = controls_->LastBegun();
  for (int x = 0; x < 80; ++x) {
    const bool is_drawn = x < 16 || (x >= 26 && x < 31);
    EXPECT_EQ(begun.mask->drawn[static_cast<size_t>(22 * 80 + x)], is_drawn ? 255 : 0) << x;
  }
}

TEST_F(InpaintRequestsTest, MakeAnImageLargerByAnySizeIfOnlyTheMaskIsDrawn) {
  StartServer();
  v1::StreamImagesRequest request = DrawOver(GradientPng(150, 90));
  request.mutable_parameters()->mutable_outpaint()->set_bottom_px(11);
  EXPECT_EQ(RefusalOf(request, "outpaint.bottom_px"),
            "makes the height of init_image 101, which must be a multiple of 4: give 10 or 14, or "
            "height_px");
  request.mutable_parameters()->set_inpaint_area(v1::INPAINT_AREA_MASKED);
  const Answer answer = Draw(request);
  ASSERT_EQ(answer.png.image.width_px, 150);
  ASSERT_EQ(answer.png.image.height_px, 101);
  EXPECT_EQ(answer.At(149, 89), Gradient(149, 89));
  EXPECT_EQ(answer.At(0, 90), kDrawn);
  EXPECT_EQ(answer.At(149, 100), kDrawn);
}

TEST_F(InpaintRequestsTest, ResizeAnEnlargedImageToTheSizeThatIsAskedFor) {
  StartServer();
  v1::StreamImagesRequest request = DrawOver(GradientPng(63, 65));
  request.mutable_parameters()->mutable_outpaint()->set_right_px(3);
  request.mutable_parameters()->set_width_px(64);
  const Answer answer = Draw(request);
  EXPECT_EQ(answer.parameters.width_px(), 64);
  EXPECT_EQ(answer.parameters.height_px(), 64) << "rounded down on the side that did not grow";
}

TEST_F(InpaintRequestsTest, TakeMarginsOfNothingForNone) {
  StartServer();
  v1::StreamImagesRequest request = DrawOver(GradientPng(64, 64));
  request.mutable_parameters()->mutable_outpaint();
  const Answer answer = Draw(request);
  EXPECT_EQ(answer.parameters.strength(), 0.3);
  EXPECT_FALSE(answer.parameters.has_outpaint());
  EXPECT_EQ(answer.parameters.inpaint_area(), v1::INPAINT_AREA_UNSPECIFIED);
  EXPECT_EQ(controls_->LastBegun().mask, nullptr);
}

}  // namespace
}  // namespace tightfit
