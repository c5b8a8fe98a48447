#include "tests/unit/client/cli/run_command.h"
#include "tests/unit/client/scripted_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>

namespace tightfit::cli::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using namespace tightfit::testing;  // NOLINT: the script's vocabulary

v1::Component Unet() {
  v1::Component unet;
  unet.set_name("unet");
  unet.set_format("hf8");
  unet.set_parameter_count(1'048'576);
  unet.set_fp16_bytes(2'097'152);
  unet.set_weight_bytes(1'073'152);
  unet.set_packed_bytes(1'024'000);
  unet.set_packed_parameter_count(1'024'000);
  unet.set_packed_module_count(12);
  v1::PurposeBytes& weights = *unet.add_memory();
  weights.set_purpose("weights");
  weights.set_current_bytes(1'073'152);
  weights.set_peak_bytes(1'600'000);
  return unet;
}

v1::Model Apples() {
  v1::Model model;
  model.set_name("apples");
  model.set_state(v1::Model::STATE_RESIDENT);
  model.mutable_state_time()->set_seconds(1'700'000'000);
  model.set_format("hf8");
  model.set_scope("linear+conv");
  model.set_compute_dtype("bf16");
  model.set_device("cpu");
  model.set_family("sdxl");
  model.set_hash("abcdef0123");
  model.set_license("MIT");
  model.mutable_defaults()->set_width_px(64);
  model.mutable_defaults()->set_height_px(64);
  model.mutable_defaults()->set_step_count(25);
  model.mutable_defaults()->set_guidance_scale(5.0f);
  model.mutable_defaults()->set_sampler("euler");
  model.mutable_defaults()->set_timestep_spacing("trailing");
  model.add_samplers("euler");
  model.add_samplers("euler-a");
  model.set_pixels_per_latent(4);
  model.mutable_load_duration()->set_seconds(2);
  *model.add_components() = Unet();
  v1::Component& vae = *model.add_components();
  vae.set_name("vae");
  vae.set_format("fp16");
  vae.set_parameter_count(512);
  vae.set_fp16_bytes(1024);
  vae.set_weight_bytes(1024);
  return model;
}

ScriptedServer::Script ModelScript() {
  return {
      .list_models =
          [](const v1::ListModelsRequest&, v1::ListModelsResponse& response) {
            *response.add_models() = Apples();
            v1::Model& pears = *response.add_models();
            pears.set_name("pears");
            pears.set_state(v1::Model::STATE_FAILED);
            pears.set_failure_reason("CHECKSUM_MISMATCH");
            pears.set_failure_message("unet.safetensors is not the file that was exported");
            pears.set_format("hf12");
            pears.set_scope("attention");
            v1::Model& plums = *response.add_models();
            plums.set_name("plums");
            plums.set_state(v1::Model::STATE_LOADING);
            plums.set_loaded_bytes(43);
            plums.set_total_bytes(100);
            plums.set_format("fp16");
            plums.set_scope("linear");
            return grpc::Status::OK;
          },
      .get_model =
          [](const v1::GetModelRequest& request, v1::GetModelResponse& response) {
            if (request.name() != "apples") {
              return MakeError({.code = grpc::StatusCode::NOT_FOUND,
                                .message = "no model has the name \"" + request.name() + "\"",
                                .reason = "MODEL_NOT_FOUND",
                                .resource_name = request.name()});
            }
            *response.mutable_model() = Apples();
            for (int i = 0; i < 25; ++i) {
              v1::ModuleLeft& left =
                  *response.mutable_model()->mutable_components(0)->add_modules_left();
              left.set_module("down_blocks." + std::to_string(i));
              left.set_reason("a value is out of range");
            }
            return grpc::Status::OK;
          },
  };
}

TEST(ModelsCommandTest, ListsModelsInATable) {
  const ScriptedServer server(ModelScript());
  const RunResult run = RunTightfit({.arguments = {"models", "--server", server.address()}});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.out,
            "NAME    STATE         FORMAT  SCOPE        DTYPE  WEIGHTS     FP16   SAVED\n"
            "apples  resident      hf8     linear+conv  bf16   1.0 MiB  2.0 MiB  48.8 %\n"
            "pears   failed        hf12    attention\n"
            "plums   loading 43 %  fp16    linear\n"
            "failed: pears: unet.safetensors is not the file that was exported "
            "[CHECKSUM_MISMATCH]\n");
}

TEST(ModelsCommandTest, ListsModelsAsJson) {
  const ScriptedServer server(ModelScript());
  const RunResult run =
      RunTightfit({.arguments = {"models", "--json", "--server", server.address()}});
  const auto json = nlohmann::json::parse(run.out);
  ASSERT_EQ(json["models"].size(), 3u);
  EXPECT_EQ(json["models"][0]["state"], "resident");
  EXPECT_EQ(json["models"][0]["state_time"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(json["models"][0]["load_seconds"], 2.0);
  EXPECT_EQ(json["models"][0]["components"][0]["weight_bytes"], 1'073'152);
  EXPECT_EQ(json["models"][0]["components"][0]["memory"][0]["peak_bytes"], 1'600'000);
  EXPECT_EQ(json["models"][1]["failure_reason"], "CHECKSUM_MISMATCH");
  EXPECT_EQ(json["models"][1]["defaults"], nullptr);
  EXPECT_EQ(json["models"][2]["loaded_bytes"], 43);
}

TEST(ModelsCommandTest, ShowsOneModelWithEveryByte) {
  const ScriptedServer server(ModelScript());
  const RunResult run =
      RunTightfit({.arguments = {"models", "apples", "--server", server.address()}});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, StartsWith("apples  resident since 2023-11-14 22:13:20 UTC, "
                                  "loaded in 2.0 s\n"));
  for (const char* line : {
           "  weights   hf8, scope linear+conv\n",
           "  computes  bf16 on cpu\n",
           "  defaults  64x64 px, 25 steps of euler (trailing), guidance 5\n",
           "  size      width and height in multiples of 4 px\n",
           "COMPONENT  FORMAT  PARAMETERS     FP16  WEIGHTS   SAVED      PACKED  MODULES PACKED  "
           "NOT PACKED\n",
           "unet       hf8      1,048,576  2.0 MiB  1.0 MiB  48.8 %  1000.0 KiB              12  "
           "        25\n",
           "vae        fp16           512  1.0 KiB  1.0 KiB   0.0 %         0 B               0  "
           "         0\n",
           "total               1,049,088  2.0 MiB  1.0 MiB  48.8 %  1000.0 KiB              12  "
           "        25\n",
           "unet        down_blocks.19  a value is out of range\n",
           "... and 5 more; --json lists all\n",
           "unet    weights  1.0 MiB  1.5 MiB\n",
       }) {
    EXPECT_THAT(run.out, HasSubstr(line)) << run.out;
  }
}

TEST(ModelsCommandTest, ShowsOneModelAsJson) {
  const ScriptedServer server(ModelScript());
  const RunResult run =
      RunTightfit({.arguments = {"models", "apples", "--json", "--server", server.address()}});
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["model"]["components"][0]["modules_left"].size(), 25u);
  EXPECT_EQ(json["model"]["components"][0]["modules_left"][3]["module"], "down_blocks.3");
  EXPECT_EQ(json["model"]["defaults"]["guidance_scale"], 5.0);
  EXPECT_EQ(json["model"]["defaults"]["timestep_spacing"], "trailing");
}

TEST(ModelsCommandTest, TellsAnUnknownModel) {
  const ScriptedServer server(ModelScript());
  const RunResult run =
      RunTightfit({.arguments = {"models", "pear", "--json", "--server", server.address()}});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(run.err,
            "error: no model has the name \"pear\"; did you mean \"pears\"? The server has apples, "
            "pears, plums [MODEL_NOT_FOUND]\n");
  EXPECT_EQ(nlohmann::json::parse(run.out)["error"]["metadata"]["resource_name"], "pear");
}

ScriptedServer::Script InfoScript() {
  return {
      .get_server_info =
          [](v1::GetServerInfoResponse& response) {
            response.set_version("0.1.0");
            response.set_build_commit("abc1234-dirty");
            response.set_libtorch_version("2.11.0");
            response.mutable_start_time()->set_seconds(1'700'000'000);
            v1::Device& device = *response.mutable_device();
            device.set_name("cpu");
            device.set_description("A Processor @ 2.0 GHz");
            device.set_total_bytes(int64_t{16} << 30);
            device.set_used_bytes(700 << 20);
            device.set_attributed_bytes(600 << 20);
            device.set_unattributed_bytes(100 << 20);
            response.set_running_request_count(1);
            response.set_queued_request_count(3);
            return grpc::Status::OK;
          },
      .get_capabilities =
          [](v1::GetCapabilitiesResponse& response) {
            response.set_min_side_px(16);
            response.set_max_side_px(2048);
            response.set_max_area_px(4'194'304);
            response.set_max_image_count(8);
            response.set_max_step_count(150);
            response.set_max_guidance_scale(30.0f);
            response.set_max_prompt_bytes(4096);
            response.set_max_queued_requests(64);
            response.add_samplers("euler");
            response.add_samplers("euler-a");
            response.add_scopes("linear");
            v1::WeightFormat& format = *response.add_formats();
            format.set_name("hf12");
            format.set_bits_per_weight(12.0);
            format.set_max_value(3.998046875);
            return grpc::Status::OK;
          },
  };
}

TEST(InfoCommandTest, ShowsTheServerAndItsLimits) {
  const ScriptedServer server(InfoScript());
  const RunResult run = RunTightfit({.arguments = {"info", "--server", server.address()}});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, StartsWith("tightfit-server 0.1.0 (abc1234-dirty) at " + server.address()));
  for (const char* line : {
           "  started   2023-11-14 22:13:20 UTC\n",
           "  requests  1 running, 3 queued\n",
           "  device    cpu, A Processor @ 2.0 GHz\n",
           "  memory    700.0 MiB of 16.0 GiB used: 600.0 MiB by models' tensors, 100.0 MiB by "
           "all else\n",
           "  size      16 to 2048 px a side, area up to 4,194,304 px\n",
           "  samplers  euler, euler-a\n",
           "hf12      12  3.99805\n",
       }) {
    EXPECT_THAT(run.out, HasSubstr(line)) << run.out;
  }
}

TEST(InfoCommandTest, ShowsBothAsJson) {
  const ScriptedServer server(InfoScript());
  const RunResult run =
      RunTightfit({.arguments = {"info", "--json", "--server", server.address()}});
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["server"]["device"]["attributed_bytes"], 600 << 20);
  EXPECT_EQ(json["server"]["start_time"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(json["capabilities"]["max_guidance_scale"], 30.0);
  EXPECT_EQ(json["capabilities"]["formats"][0]["max_value"], 3.998046875);
}

TEST(InfoCommandTest, TellsAForeignServer) {
  const ScriptedServer server({});
  const RunResult run = RunTightfit({.arguments = {"info", "--server", server.address()}});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.err, HasSubstr("[NOT_A_TIGHTFIT_SERVER]"));
}

}  // namespace
}  // namespace tightfit::cli::testing
