// Every way to ask for something that cannot be honoured: the code, the field and the limit.
#include "server/rpc/request_validator.h"
#include "tests/unit/rpc/rpc_fixture.h"

#include <cmath>
#include <functional>
#include <limits>

namespace tightfit {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Parameters = v1::ImageParameters;

struct BadRequestCase {
  const char* name;
  std::function<void(Parameters&)> change;
  const char* field;
  const char* limit;  // a part of the description that says what would be accepted
};

const std::vector<BadRequestCase>& BadRequests() {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr int64_t kMax64 = std::numeric_limits<int64_t>::max();
  constexpr int32_t kMax32 = std::numeric_limits<int32_t>::max();
  constexpr int32_t kMin32 = std::numeric_limits<int32_t>::min();
  static const auto* const cases = new std::vector<BadRequestCase>{
      {"width 0", [](Parameters& p) { p.set_width_px(0); }, "width_px", "16 to 2048"},
      {"width -64", [](Parameters& p) { p.set_width_px(-64); }, "width_px", "16 to 2048"},
      {"width 12", [](Parameters& p) { p.set_width_px(12); }, "width_px", "16 to 2048"},
      {"width 2052", [](Parameters& p) { p.set_width_px(2052); }, "width_px", "16 to 2048"},
      {"width huge", [=](Parameters& p) { p.set_width_px(kMax32); }, "width_px", "16 to 2048"},
      {"width odd", [](Parameters& p) { p.set_width_px(65); }, "width_px", "multiple of 4"},
      {"height 0", [](Parameters& p) { p.set_height_px(0); }, "height_px", "16 to 2048"},
      {"height low", [=](Parameters& p) { p.set_height_px(kMin32); }, "height_px", "16 to 2048"},
      {"height 2049", [](Parameters& p) { p.set_height_px(2049); }, "height_px", "16 to 2048"},
      {"height odd", [](Parameters& p) { p.set_height_px(66); }, "height_px", "multiple of 4"},
      {"steps 0", [](Parameters& p) { p.set_step_count(0); }, "step_count", "1 to 150"},
      {"steps -1", [](Parameters& p) { p.set_step_count(-1); }, "step_count", "1 to 150"},
      {"steps 151", [](Parameters& p) { p.set_step_count(151); }, "step_count", "1 to 150"},
      {"guidance below", [](Parameters& p) { p.set_guidance_scale(-0.1f); }, "guidance_scale",
       "0 to 30"},
      {"guidance above", [](Parameters& p) { p.set_guidance_scale(30.01f); }, "guidance_scale",
       "0 to 30"},
      {"rescale below", [](Parameters& p) { p.set_guidance_rescale(-0.1f); }, "guidance_rescale",
       "from 0 to 1"},
      {"rescale above", [](Parameters& p) { p.set_guidance_rescale(1.01f); }, "guidance_rescale",
       "from 0 to 1"},
      {"rescale NaN", [=](Parameters& p) { p.set_guidance_rescale(kNan); }, "guidance_rescale",
       "from 0 to 1"},
      {"guidance NaN", [=](Parameters& p) { p.set_guidance_scale(kNan); }, "guidance_scale",
       "0 to 30"},
      {"guidance inf", [=](Parameters& p) { p.set_guidance_scale(kInfinity); }, "guidance_scale",
       "0 to 30"},
      {"guidance -inf", [=](Parameters& p) { p.set_guidance_scale(-kInfinity); }, "guidance_scale",
       "0 to 30"},
      {"sampler unknown", [](Parameters& p) { p.set_sampler("ddim"); }, "sampler",
       "euler, euler-a"},
      {"sampler case", [](Parameters& p) { p.set_sampler("Euler"); }, "sampler", "euler, euler-a"},
      {"sampler empty", [](Parameters& p) { p.set_sampler(""); }, "sampler", "euler, euler-a"},
      {"seed negative", [](Parameters& p) { p.set_seed(-1); }, "seed", "0 to 9223372036854775806"},
      {"seed last", [=](Parameters& p) { p.set_seed(kMax64); }, "seed", "0 to 9223372036854775806"},
      {"seed of 3 images",
       [=](Parameters& p) {
         p.set_seed(kMax64 - 2);
         p.set_image_count(3);
       },
       "seed", "0 to 9223372036854775804"},
      {"images 0", [](Parameters& p) { p.set_image_count(0); }, "image_count", "1 to 8"},
      {"images 9", [](Parameters& p) { p.set_image_count(9); }, "image_count", "1 to 8"},
      {"images low", [=](Parameters& p) { p.set_image_count(kMin32); }, "image_count", "1 to 8"},
      {"mime jpeg", [](Parameters& p) { p.set_mime_type("image/jpeg"); }, "mime_type", "image/png"},
      {"mime empty", [](Parameters& p) { p.set_mime_type(""); }, "mime_type", "image/png"},
      {"prompt long", [](Parameters& p) { p.set_prompt(std::string(4097, 'x')); }, "prompt",
       "at most 4096"},
      {"prompt NUL", [](Parameters& p) { p.set_prompt(std::string("a\0b", 3)); }, "prompt",
       "control characters"},
      {"prompt escape", [](Parameters& p) { p.set_prompt("a\x1b[0m"); }, "prompt",
       "control characters"},
      {"prompt return", [](Parameters& p) { p.set_prompt("a\rb"); }, "prompt",
       "control characters"},
      {"prompt delete", [](Parameters& p) { p.set_prompt("a\x7f"); }, "prompt",
       "control characters"},
      {"prompt C1", [](Parameters& p) { p.set_prompt("a\xC2\x85"); }, "prompt",
       "control characters"},
      {"prompt 2 long", [](Parameters& p) { p.set_prompt_2(std::string(4097, 'x')); }, "prompt_2",
       "at most 4096"},
      {"negative NUL", [](Parameters& p) { p.set_negative_prompt(std::string("\0", 1)); },
       "negative_prompt", "control characters"},
      {"negative 2 long", [](Parameters& p) { p.set_negative_prompt_2(std::string(5000, 'x')); },
       "negative_prompt_2", "at most 4096"},
      {"original width 0", [](Parameters& p) { p.mutable_original_size()->set_height_px(1); },
       "original_size.width_px", "1 to 8192"},
      {"original height 8193",
       [](Parameters& p) {
         p.mutable_original_size()->set_width_px(1);
         p.mutable_original_size()->set_height_px(8193);
       },
       "original_size.height_px", "1 to 8192"},
      {"target empty", [](Parameters& p) { p.mutable_target_size(); }, "target_size.width_px",
       "1 to 8192"},
      {"crop left -1", [](Parameters& p) { p.mutable_crop_top_left()->set_left_px(-1); },
       "crop_top_left.left_px", "0 to 8192"},
      {"crop top 8193", [](Parameters& p) { p.mutable_crop_top_left()->set_top_px(8193); },
       "crop_top_left.top_px", "0 to 8192"},
      {"pixel steps",
       [](Parameters& p) {
         p.set_width_px(2048);
         p.set_height_px(2048);
         p.set_step_count(150);
         p.set_image_count(2);
       },
       "step_count", "at most 629145600"},
      {"unknown field",
       [](Parameters& p) { p.GetReflection()->MutableUnknownFields(&p)->AddVarint(1000, 1); },
       "1000", "does not know"},
      {"unknown nested field",
       [](Parameters& p) {
         v1::Size& size = *p.mutable_target_size();
         size.set_width_px(1);
         size.set_height_px(1);
         size.GetReflection()->MutableUnknownFields(&size)->AddLengthDelimited(7, "x");
       },
       "target_size.7", "does not know"},
  };
  return *cases;
}

class BadRequestsTest : public RpcFixture {};

TEST_F(BadRequestsTest, AreRefusedWithFieldAndLimitByBothMethods) {
  StartServer();
  ASSERT_GE(BadRequests().size(), 30u);
  for (const BadRequestCase& bad : BadRequests()) {
    SCOPED_TRACE(bad.name);
    v1::StreamImagesRequest streamed = Request("secret prompt");
    bad.change(*streamed.mutable_parameters());
    const StreamResult result = Stream(streamed);
    EXPECT_THAT(result.events, IsEmpty());

    v1::GenerateImagesRequest unary;
    *unary.mutable_parameters() = streamed.parameters();
    grpc::ClientContext context;
    v1::GenerateImagesResponse response;
    for (const grpc::Status& status :
         {result.status, images_->GenerateImages(&context, unary, &response)}) {
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
      EXPECT_EQ(status.error_message().find("secret"), std::string::npos);
      EXPECT_THAT(status.error_message(), HasSubstr(bad.field));
      const ErrorDetails details = DetailsOf(status);
      ASSERT_TRUE(details.info.has_value());
      EXPECT_EQ(details.info->reason(), "INVALID_PARAMETER");
      ASSERT_TRUE(details.bad_request.has_value());
      EXPECT_THAT(details.ViolationOf(bad.field), HasSubstr(bad.limit));
    }
  }
  EXPECT_EQ(controls_->begun, 0) << "no bad request may reach the model";
}

TEST_F(BadRequestsTest, AreNamedAllAtOnce) {
  StartServer();
  v1::StreamImagesRequest request = Request(std::string(5000, 'x'));
  request.set_request_id("no spaces");
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(77, 1);
  v1::ImageParameters& parameters = *request.mutable_parameters();
  parameters.set_width_px(1);
  parameters.set_height_px(67);
  parameters.set_step_count(0);
  parameters.set_guidance_scale(31);
  parameters.set_sampler("none");
  parameters.set_seed(-5);
  parameters.set_image_count(100);
  parameters.set_mime_type("text/html");
  parameters.mutable_original_size();
  const ErrorDetails details = DetailsOf(Stream(request).status);
  ASSERT_TRUE(details.bad_request.has_value());
  for (const char* field : {"77", "request_id", "prompt", "width_px", "height_px", "step_count",
                            "guidance_scale", "sampler", "seed", "image_count", "mime_type",
                            "original_size.width_px", "original_size.height_px"}) {
    EXPECT_NE(details.ViolationOf(field), "") << field;
  }
  EXPECT_THAT(details.bad_request->field_violations(), SizeIs(13));
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
      [](Parameters& p) { p.set_prompt(""); },
      [](Parameters& p) { p.set_model(""); },
      [](Parameters& p) { p.set_mime_type("image/png"); },
      [](Parameters& p) {
        p.mutable_original_size()->set_width_px(8192);
        p.mutable_original_size()->set_height_px(1);
      },
      [](Parameters& p) { p.mutable_crop_top_left(); },
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
