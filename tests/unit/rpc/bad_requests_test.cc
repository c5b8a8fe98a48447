// Every way to ask for something that cannot be honoured: the code, the field and the limit.
#include "server/rpc/request_validator.h"
#include "tests/support/bad_image_parameters.h"
#include "tests/support/input_image_files.h"
#include "tests/unit/rpc/rpc_fixture.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <iterator>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Parameters = v1::ImageParameters;

class BadRequestsTest : public RpcFixture {
 protected:
  // The ends of one call of each method that takes parameters, and how long the quickest took.
  std::vector<std::pair<const char*, grpc::Status>> AskEveryMethod(
      const Parameters& parameters, std::chrono::nanoseconds* quickest) {
    v1::StreamImagesRequest streamed;
    *streamed.mutable_parameters() = parameters;
    v1::GenerateImagesRequest unary;
    *unary.mutable_parameters() = parameters;
    v1::EstimateImagesRequest estimated;
    *estimated.mutable_parameters() = parameters;
    v1::GenerateImagesResponse images;
    v1::EstimateImagesResponse estimate;
    grpc::ClientContext contexts[2];
    const auto timed = [quickest](auto call) {
      const auto start = std::chrono::steady_clock::now();
      const grpc::Status status = call();
      *quickest =
          std::min<std::chrono::nanoseconds>(*quickest, std::chrono::steady_clock::now() - start);
      return status;
    };
    return {{"StreamImages", timed([&] {
               const StreamResult result = Stream(streamed);
               EXPECT_THAT(result.events, IsEmpty());
               return result.status;
             })},
            {"GenerateImages",
             timed([&] { return images_->GenerateImages(&contexts[0], unary, &images); })},
            {"EstimateImages",
             timed([&] { return images_->EstimateImages(&contexts[1], estimated, &estimate); })}};
  }
};

// How long a server may take to refuse: five milliseconds are promised, on an idle machine. The
// quickest of three calls counts, with all of the way there and back; other tests run beside it.
constexpr std::chrono::milliseconds kMaxRefusalTime{500};

TEST_F(BadRequestsTest, AreRefusedWithFieldAndLimitByEveryMethod) {
  StartServer();
  const std::vector<BadImageParameters> cases = AllBadImageParameters();
  ASSERT_GE(cases.size(), 150u);
  std::chrono::nanoseconds slowest{0};
  std::string slowest_case;
  for (const BadImageParameters& bad : cases) {
    SCOPED_TRACE(bad.name);
    v1::ImageParameters parameters;
    parameters.set_prompt("secret prompt");
    bad.change(parameters);
    auto quickest = std::chrono::nanoseconds::max();
    for (const auto& [method, status] : AskEveryMethod(parameters, &quickest)) {
      SCOPED_TRACE(method);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
      EXPECT_EQ(status.error_message().find("secret"), std::string::npos);
      EXPECT_THAT(status.error_message(), HasSubstr(bad.field));
      const ErrorDetails details = DetailsOf(status);
      ASSERT_TRUE(details.info.has_value());
      EXPECT_EQ(details.info->reason(), "INVALID_PARAMETER");
      ASSERT_TRUE(details.bad_request.has_value());
      EXPECT_THAT(details.ViolationOf(bad.field), HasSubstr(bad.limit));
    }
    if (quickest > slowest) {
      slowest = quickest;
      slowest_case = bad.name;
    }
  }
  std::printf("%zu cases, the slowest took %.2f ms there and back: %s\n", cases.size(),
              slowest.count() / 1e6, slowest_case.c_str());
  EXPECT_LE(slowest, kMaxRefusalTime);
  EXPECT_EQ(controls_->begun, 0) << "no bad request may reach the model";
  EXPECT_EQ(executor_->queued_count(), 0);
  EXPECT_TRUE(Stream(Request()).status.ok()) << "a good request after all of them";
}

// Every field of the contract that can be wrong.
v1::StreamImagesRequest WrongInEveryField() {
  v1::StreamImagesRequest request;
  request.set_request_id("no spaces");
  v1::ImageParameters& parameters = *request.mutable_parameters();
  parameters.set_prompt("\x7f");
  parameters.set_prompt_2(std::string(5000, 'x'));
  parameters.set_negative_prompt("\x1b");
  parameters.set_negative_prompt_2("\v");
  parameters.set_mime_type("text/html");
  parameters.set_prompt_syntax(static_cast<v1::PromptSyntax>(77));
  parameters.set_width_px(1);
  parameters.set_height_px(67);
  parameters.set_step_count(0);
  parameters.set_guidance_scale(31);
  parameters.set_guidance_rescale(2);
  parameters.set_sampler("none");
  parameters.set_timestep_spacing("none");
  parameters.set_comma_backtrack_tokens(75);
  parameters.set_seed(-5);
  parameters.set_image_count(100);
  parameters.set_clip_skip(-1);
  parameters.mutable_original_size();
  parameters.mutable_target_size();
  parameters.mutable_crop_top_left()->set_left_px(-1);
  parameters.mutable_crop_top_left()->set_top_px(-1);
  parameters.set_denoising_start(2);
  parameters.set_denoising_end(-2);
  parameters.add_initial_latents("");
  parameters.set_init_image("secret");
  parameters.set_strength(-1);
  parameters.set_mask("secret");
  parameters.set_mask_blur_px(-1);
  parameters.set_inpaint_area(static_cast<v1::InpaintArea>(77));
  parameters.set_inpaint_padding_px(-1);
  parameters.mutable_outpaint()->set_left_px(-1);
  parameters.mutable_outpaint()->set_top_px(-1);
  parameters.mutable_outpaint()->set_right_px(-1);
  parameters.mutable_outpaint()->set_bottom_px(-1);
  return request;
}

constexpr const char* kEveryField[] = {"request_id",
                                       "prompt",
                                       "prompt_2",
                                       "negative_prompt",
                                       "negative_prompt_2",
                                       "mime_type",
                                       "prompt_syntax",
                                       "width_px",
                                       "height_px",
                                       "step_count",
                                       "guidance_scale",
                                       "guidance_rescale",
                                       "timestep_spacing",
                                       "comma_backtrack_tokens",
                                       "sampler",
                                       "seed",
                                       "image_count",
                                       "clip_skip",
                                       "original_size.width_px",
                                       "original_size.height_px",
                                       "target_size.width_px",
                                       "target_size.height_px",
                                       "crop_top_left.left_px",
                                       "crop_top_left.top_px",
                                       "denoising_start",
                                       "denoising_end",
                                       "initial_latents",
                                       "init_image",
                                       "strength",
                                       "mask",
                                       "mask_blur_px",
                                       "inpaint_area",
                                       "inpaint_padding_px",
                                       "outpaint.left_px",
                                       "outpaint.top_px",
                                       "outpaint.right_px",
                                       "outpaint.bottom_px"};

TEST_F(BadRequestsTest, AreNamedAllAtOnce) {
  StartServer();
  v1::StreamImagesRequest request = WrongInEveryField();
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(77, 1);
  const ErrorDetails details = DetailsOf(Stream(request).status);
  ASSERT_TRUE(details.bad_request.has_value());
  for (const char* field : kEveryField) EXPECT_NE(details.ViolationOf(field), "") << field;
  EXPECT_NE(details.ViolationOf("77"), "");
}

TEST_F(BadRequestsTest, CannotHideAFieldBehindUnknownOnes) {
  StartServer();
  v1::StreamImagesRequest request = WrongInEveryField();
  for (int number = 1000; number < 2000; ++number) {
    v1::ImageParameters& parameters = *request.mutable_parameters();
    parameters.GetReflection()->MutableUnknownFields(&parameters)->AddVarint(number, 1);
  }
  // The answer travels in the trailers, of which this client accepts 8 KiB.
  const grpc::Status status = Stream(request).status;
  ASSERT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  const ErrorDetails details = DetailsOf(status);
  for (const char* field : kEveryField) EXPECT_NE(details.ViolationOf(field), "") << field;
  EXPECT_NE(details.ViolationOf("1000"), "");
}

// A field that is added to the contract needs cases of its own.
TEST_F(BadRequestsTest, CoverEveryFieldOfTheContract) {
  std::set<std::string> covered(std::begin(kEveryField), std::end(kEveryField));
  for (const BadImageParameters& bad : AllBadImageParameters()) covered.insert(bad.field);
  // Any model is a name, either is right, and sizes are covered by their fields.
  for (const char* field :
       {"model", "embed_metadata", "original_size", "target_size", "crop_top_left"}) {
    covered.insert(field);
  }
  const auto* const descriptor = v1::ImageParameters::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    EXPECT_TRUE(covered.contains(descriptor->field(i)->name())) << descriptor->field(i)->name();
  }
}

TEST_F(BadRequestsTest, LetValuesAtTheirLimitsPass) {
  StartServer();
  const std::vector<std::function<void(Parameters&)>> good = {
      [](Parameters& p) { p.set_width_px(16); },
      [](Parameters& p) { p.set_height_px(2048); },
      [](Parameters& p) { p.set_step_count(1); },
      [](Parameters& p) { p.set_step_count(150); },
      [](Parameters& p) { p.set_guidance_scale(0.0f); },
      [](Parameters& p) { p.set_guidance_scale(30.0f); },
      [](Parameters& p) { p.set_seed(std::numeric_limits<int64_t>::max() - 1); },
      [](Parameters& p) { p.set_image_count(8); },
      [](Parameters& p) { p.set_prompt(std::string(4096, 'x')); },
      [](Parameters& p) { p.set_prompt("line\n\ttab \xC2\xA0 \xF0\x9F\x90\xB1"); },
      [](Parameters& p) { p.set_prompt("line\r\nline\rline"); },
      [](Parameters& p) { p.set_prompt(""); },
      [](Parameters& p) { p.set_comma_backtrack_tokens(0); },
      [](Parameters& p) { p.set_comma_backtrack_tokens(74); },
      [](Parameters& p) {
        p.set_comma_backtrack_tokens(0);
        p.set_prompt_syntax(v1::PROMPT_SYNTAX_PLAIN);
      },
      [](Parameters& p) { p.set_model(""); },
      [](Parameters& p) { p.set_mime_type("image/png"); },
      [](Parameters& p) {
        p.mutable_original_size()->set_width_px(8192);
        p.mutable_original_size()->set_height_px(1);
      },
      [](Parameters& p) { p.mutable_crop_top_left(); },
      [](Parameters& p) {
        p.set_step_count(4);
        p.set_init_image(GradientPng(64, 64));
        p.set_mask(HalfMaskPng(64, 64, 32));
        p.set_inpaint_area(v1::INPAINT_AREA_MASKED);
        p.set_inpaint_padding_px(2048);
        p.set_mask_blur_px(256);
        p.mutable_outpaint()->set_left_px(2048);
      },
      [](Parameters& p) {
        p.set_step_count(4);
        p.set_init_image(GradientPng(16, 16));
        p.mutable_outpaint()->set_bottom_px(2032);
      },
  };
  for (size_t i = 0; i < good.size(); ++i) {
    v1::StreamImagesRequest request = Request();
    request.mutable_parameters()->set_step_count(1);
    good[i](*request.mutable_parameters());
    const grpc::Status status = Stream(request).status;
    EXPECT_TRUE(status.ok()) << "case " << i << ": " << status.error_message();
  }
}

TEST_F(BadRequestsTest, RefuseAnAreaBeyondItsLimit) {
  limits_.max_area_px = 64 * 64;
  StartServer();
  v1::StreamImagesRequest request = Request();
  EXPECT_TRUE(Stream(request).status.ok()) << "at the limit";
  request.mutable_parameters()->set_width_px(68);
  request.mutable_parameters()->set_sampler("none");
  const ErrorDetails details = DetailsOf(Stream(request).status);
  EXPECT_THAT(details.ViolationOf("width_px"), HasSubstr("at most 4096"));
  EXPECT_NE(details.ViolationOf("sampler"), "") << "products are named with the others";
}

TEST_F(BadRequestsTest, BoundTheListOfUnknownFields) {
  StartServer();
  v1::StreamImagesRequest request = Request();
  v1::ImageParameters& parameters = *request.mutable_parameters();
  for (int number = 100; number < 5000; ++number) {
    parameters.GetReflection()->MutableUnknownFields(&parameters)->AddVarint(number, 1);
  }
  const grpc::Status status = Stream(request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(DetailsOf(status).bad_request->field_violations(), SizeIs(16));
}

TEST_F(BadRequestsTest, NeedAModelWhenThereAreSeveral) {
  models_ = {"one", "two"};
  StartServer();
  const grpc::Status status = Stream(Request()).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(DetailsOf(status).ViolationOf("model"), HasSubstr("required"));
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_model("two");
  EXPECT_EQ(Stream(request).events[1].started().parameters().model(), "two");
}

TEST_F(BadRequestsTest, GetNotFoundForAnUnknownModel) {
  StartServer();
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_model("sd-1.5\n" + std::string(1000, 'x'));
  const grpc::Status status = Stream(request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_LT(status.error_message().size(), 200u);
  const ErrorDetails details = DetailsOf(status);
  EXPECT_EQ(details.info->reason(), "MODEL_NOT_FOUND");
  EXPECT_EQ(details.resource->resource_type(), "tightfit.v1.Model");
  EXPECT_EQ(details.resource->resource_name().substr(0, 8), "sd-1.5?x");
  EXPECT_EQ(recorder_.WaitForRecord()->model, "unknown") << "metrics' labels stay bounded";
}

TEST_F(BadRequestsTest, NameBadFieldsOfAnUnknownModelFirst) {
  StartServer();
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_model("other");
  request.mutable_parameters()->set_step_count(0);
  EXPECT_EQ(Stream(request).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(BadRequestsTest, AcceptARequestWithoutParameters) {
  StartServer();
  EXPECT_TRUE(Stream(v1::StreamImagesRequest()).status.ok()) << "every field has a default";
}

}  // namespace
}  // namespace tightfit
