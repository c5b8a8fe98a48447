#include "client/cpp/generation_client.h"
#include "tests/unit/client/scripted_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace tightfit::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ScriptedServer;

TEST(ServerDescriptionTest, ListModelsFollowsAllPages) {
  const ScriptedServer server(
      {.list_models = [](const v1::ListModelsRequest& request, v1::ListModelsResponse& response) {
        const std::string& token = request.page_token();
        response.add_models()->set_name("model" + token);
        if (token.empty()) response.set_next_page_token("-b");
        if (token == "-b") response.set_next_page_token("-c");
        return grpc::Status::OK;
      }});
  GenerationClient client({.server = server.address()});
  const auto models = client.ListModels();
  ASSERT_TRUE(models.ok());
  std::vector<std::string> names;
  for (const Model& model : *models) names.push_back(model.name);
  EXPECT_THAT(names, ElementsAre("model", "model-b", "model-c"));
}

TEST(ServerDescriptionTest, ListModelsEndsWhereTheServerDoesNot) {
  const ScriptedServer server(
      {.list_models = [](const v1::ListModelsRequest&, v1::ListModelsResponse& response) {
        response.set_next_page_token("again");
        return grpc::Status::OK;
      }});
  GenerationClient client({.server = server.address()});
  EXPECT_EQ(client.ListModels().status().code(), StatusCode::kDataLoss);
}

TEST(ServerDescriptionTest, GetModelGivesEverything) {
  const ScriptedServer server(
      {.get_model = [](const v1::GetModelRequest& request, v1::GetModelResponse& response) {
        v1::Model& model = *response.mutable_model();
        model.set_name(request.name());
        model.set_state(v1::Model::STATE_RESIDENT);
        model.mutable_state_time()->set_seconds(1'700'000'000);
        model.set_format("hf8");
        model.set_scope("linear");
        model.set_compute_dtype("bf16");
        model.set_device("cpu");
        model.set_family("sdxl");
        model.set_hash("abcdef0123");
        model.set_license("MIT");
        model.mutable_defaults()->set_width_px(512);
        model.mutable_defaults()->set_height_px(256);
        model.mutable_defaults()->set_step_count(25);
        model.mutable_defaults()->set_guidance_scale(5.5f);
        model.mutable_defaults()->set_sampler("euler");
        model.mutable_defaults()->set_timestep_spacing("trailing");
        model.add_samplers("euler");
        model.add_samplers("euler-a");
        model.set_pixels_per_latent(4);
        model.mutable_load_duration()->set_nanos(500'000'000);
        v1::Component& unet = *model.add_components();
        unet.set_name("unet");
        unet.set_format("hf8");
        unet.set_parameter_count(1000);
        unet.set_fp16_bytes(2000);
        unet.set_weight_bytes(1100);
        unet.set_packed_bytes(900);
        unet.set_packed_parameter_count(901);
        unet.set_packed_module_count(12);
        unet.add_modules_left()->set_module("conv_in");
        unet.mutable_modules_left(0)->set_reason("out of range");
        unet.add_memory()->set_purpose("weights");
        unet.mutable_memory(0)->set_current_bytes(1100);
        unet.mutable_memory(0)->set_peak_bytes(1300);
        return grpc::Status::OK;
      }});
  GenerationClient client({.server = server.address()});
  const auto result = client.GetModel("apples");
  ASSERT_TRUE(result.ok());
  const Model& model = *result;
  EXPECT_EQ(model.name, "apples");
  EXPECT_EQ(model.state, ModelState::kResident);
  EXPECT_EQ(model.state_time, TimePoint(seconds(1'700'000'000)));
  EXPECT_EQ(model.format, "hf8");
  EXPECT_EQ(model.scope, "linear");
  EXPECT_EQ(model.compute_dtype, "bf16");
  EXPECT_EQ(model.device, "cpu");
  EXPECT_EQ(model.family, "sdxl");
  EXPECT_EQ(model.hash, "abcdef0123");
  EXPECT_EQ(model.license, "MIT");
  ASSERT_TRUE(model.defaults.has_value());
  EXPECT_EQ(model.defaults->width_px, 512);
  EXPECT_EQ(model.defaults->height_px, 256);
  EXPECT_EQ(model.defaults->step_count, 25);
  EXPECT_EQ(model.defaults->guidance_scale, 5.5f);
  EXPECT_EQ(model.defaults->sampler, "euler");
  EXPECT_EQ(model.defaults->timestep_spacing, "trailing");
  EXPECT_THAT(model.samplers, ElementsAre("euler", "euler-a"));
  EXPECT_EQ(model.pixels_per_latent, 4);
  EXPECT_EQ(model.load_duration, milliseconds(500));
  ASSERT_EQ(model.components.size(), 1u);
  const Component& unet = model.components[0];
  EXPECT_EQ(unet.parameter_count, 1000);
  EXPECT_EQ(unet.fp16_bytes, 2000);
  EXPECT_EQ(unet.weight_bytes, 1100);
  EXPECT_EQ(unet.packed_bytes, 900);
  EXPECT_EQ(unet.packed_parameter_count, 901);
  EXPECT_EQ(unet.packed_module_count, 12);
  ASSERT_EQ(unet.modules_left.size(), 1u);
  EXPECT_EQ(unet.modules_left[0].module, "conv_in");
  EXPECT_EQ(unet.modules_left[0].reason, "out of range");
  ASSERT_EQ(unet.memory.size(), 1u);
  EXPECT_EQ(unet.memory[0].purpose, "weights");
  EXPECT_EQ(unet.memory[0].current_bytes, 1100);
  EXPECT_EQ(unet.memory[0].peak_bytes, 1300);
}

TEST(ServerDescriptionTest, GetModelTellsAnUnknownName) {
  const ScriptedServer server(
      {.get_model = [](const v1::GetModelRequest& request, v1::GetModelResponse&) {
        return testing::MakeError({.code = grpc::StatusCode::NOT_FOUND,
                                   .message = "no model has the name",
                                   .reason = "MODEL_NOT_FOUND",
                                   .resource_name = request.name()});
      }});
  GenerationClient client({.server = server.address()});
  const Status status = client.GetModel("pears").status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_EQ(status.reason(), "MODEL_NOT_FOUND");
  EXPECT_EQ(status.metadata().at("resource_name"), "pears");
}

TEST(ServerDescriptionTest, GetServerInfoGivesTheDevice) {
  const ScriptedServer server({.get_server_info = [](v1::GetServerInfoResponse& response) {
    response.set_version("0.1.0");
    response.set_build_commit("abc-dirty");
    response.set_libtorch_version("2.11.0");
    response.mutable_start_time()->set_seconds(INT64_MAX);
    response.mutable_device()->set_name("cpu");
    response.mutable_device()->set_description("a processor");
    response.mutable_device()->set_total_bytes(100);
    response.mutable_device()->set_used_bytes(70);
    response.mutable_device()->set_attributed_bytes(60);
    response.mutable_device()->set_unattributed_bytes(10);
    response.set_queued_request_count(3);
    response.set_running_request_count(1);
    return grpc::Status::OK;
  }});
  GenerationClient client({.server = server.address()});
  const auto info = client.GetServerInfo();
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->version, "0.1.0");
  EXPECT_EQ(info->build_commit, "abc-dirty");
  EXPECT_EQ(info->libtorch_version, "2.11.0");
  EXPECT_TRUE(info->start_time.has_value()) << "cut, not overflowed";
  EXPECT_EQ(info->device.name, "cpu");
  EXPECT_EQ(info->device.description, "a processor");
  EXPECT_EQ(info->device.total_bytes, 100);
  EXPECT_EQ(info->device.used_bytes, 70);
  EXPECT_EQ(info->device.attributed_bytes, 60);
  EXPECT_EQ(info->device.unattributed_bytes, 10);
  EXPECT_EQ(info->queued_request_count, 3);
  EXPECT_EQ(info->running_request_count, 1);
}

TEST(ServerDescriptionTest, GetCapabilitiesGivesEveryLimit) {
  const ScriptedServer server({.get_capabilities = [](v1::GetCapabilitiesResponse& response) {
    response.set_min_side_px(16);
    response.set_max_side_px(2048);
    response.set_max_area_px(4194304);
    response.set_max_image_count(8);
    response.set_max_step_count(150);
    response.set_max_guidance_scale(30.0f);
    response.set_max_prompt_bytes(4096);
    response.set_max_pixel_steps(629145600);
    response.set_max_unary_reply_bytes(3145728);
    response.set_max_queued_requests(64);
    response.set_max_input_image_bytes(8 << 20);
    response.set_max_input_image_px(int64_t{1} << 33);
    response.add_samplers("euler");
    response.add_mime_types("image/png");
    response.add_scopes("linear");
    v1::WeightFormat& format = *response.add_formats();
    format.set_name("hf8");
    format.set_bits_per_weight(8.0);
    format.set_max_value(3.5);
    return grpc::Status::OK;
  }});
  GenerationClient client({.server = server.address()});
  const auto limits = client.GetCapabilities();
  ASSERT_TRUE(limits.ok());
  EXPECT_EQ(limits->min_side_px, 16);
  EXPECT_EQ(limits->max_side_px, 2048);
  EXPECT_EQ(limits->max_area_px, 4194304);
  EXPECT_EQ(limits->max_image_count, 8);
  EXPECT_EQ(limits->max_step_count, 150);
  EXPECT_EQ(limits->max_guidance_scale, 30.0f);
  EXPECT_EQ(limits->max_prompt_bytes, 4096);
  EXPECT_EQ(limits->max_pixel_steps, 629145600);
  EXPECT_EQ(limits->max_unary_reply_bytes, 3145728);
  EXPECT_EQ(limits->max_queued_requests, 64);
  EXPECT_EQ(limits->max_input_image_bytes, 8 << 20);
  EXPECT_EQ(limits->max_input_image_px, int64_t{1} << 33);
  EXPECT_THAT(limits->samplers, ElementsAre("euler"));
  EXPECT_THAT(limits->mime_types, ElementsAre("image/png"));
  EXPECT_THAT(limits->scopes, ElementsAre("linear"));
  ASSERT_EQ(limits->formats.size(), 1u);
  EXPECT_EQ(limits->formats[0].name, "hf8");
  EXPECT_EQ(limits->formats[0].bits_per_weight, 8.0);
  EXPECT_EQ(limits->formats[0].max_value, 3.5);
}

}  // namespace
}  // namespace tightfit::client
