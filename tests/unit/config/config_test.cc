#include "server/config/config.h"

#include "tests/unit/config/model_directories.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace tightfit {
namespace {

class ConfigTest : public testing::Test {
 protected:
  ServerConfig Valid() const {
    ServerConfig config;
    ModelSpec model;
    model.name = "one";
    model.path = directories_.Path("one");
    config.models.push_back(model);
    return config;
  }

  // The error after `change` was made to a valid configuration.
  std::string ErrorAfter(const std::function<void(ServerConfig*)>& change) const {
    ServerConfig config = Valid();
    change(&config);
    return ValidateConfig(config, {}).message();
  }

  ModelDirectories directories_;
};

TEST_F(ConfigTest, AcceptsTheDefaultsWithOneModel) {
  const Status status = ValidateConfig(Valid(), {});
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST_F(ConfigTest, AcceptsEveryFormatScopeAndDtype) {
  ServerConfig config = Valid();
  for (const char* format : {"fp16", "hf8", "hf8x", "hf10", "hf12"}) {
    for (const std::string_view scope : kScopes) {
      for (const std::string_view dtype : kComputeDtypes) {
        config.models[0].format = format;
        config.models[0].scope = scope;
        config.models[0].compute_dtype = dtype;
        EXPECT_TRUE(ValidateConfig(config, {}).ok()) << format << scope << dtype;
      }
    }
  }
}

TEST_F(ConfigTest, RefusesWhatCannotBeServed) {
  EXPECT_THAT(ErrorAfter([](auto* c) { c->models.clear(); }),
              testing::StartsWith("no model is configured; give --model NAME=PATH"));
  EXPECT_EQ(ErrorAfter([](auto* c) { c->models.push_back(c->models[0]); }),
            "two models are named \"one\"");
  for (const char* name : {"cuda", "cuda:0", "cuda:15"}) {
    EXPECT_EQ(ErrorAfter([name](auto* c) { c->device = name; }), "") << "told when it is opened";
  }
  EXPECT_EQ(ErrorAfter([](auto* c) { c->device = "gpu"; }),
            "device: \"gpu\" is none of auto, cpu, cuda:N");
  EXPECT_THAT(ErrorAfter([](auto* c) { c->listen = "50051"; }),
              testing::StartsWith("listen: \"50051\" has no port"));
  EXPECT_THAT(ErrorAfter([](auto* c) { c->listen = "127.0.0.1:70000"; }),
              testing::StartsWith("listen: \"127.0.0.1:70000\" has no valid port"));
  EXPECT_EQ(ErrorAfter([](auto* c) { c->metrics_listen = "unix:/x"; }),
            "metrics_listen: \"unix:/x\" is a unix socket; metrics need host:port");
  EXPECT_EQ(ErrorAfter([](auto* c) { c->metrics_listen = c->listen; }),
            "metrics_listen: \"127.0.0.1:50051\" is the address of the gRPC services too");
}

TEST_F(ConfigTest, RefusesBadModels) {
  const auto error = [this](const std::function<void(ModelSpec*)>& change) {
    return ErrorAfter([&](ServerConfig* config) { change(&config->models[0]); });
  };
  EXPECT_EQ(error([](auto* m) { m->name = "a b"; }),
            "model \"a b\": \"a b\" is no model name; names are 1 to 64 of A-Z a-z 0-9 . _ -");
  EXPECT_THAT(error([](auto* m) { m->name = ""; }), testing::HasSubstr("is no model name"));
  EXPECT_THAT(error([](auto* m) { m->name = std::string(65, 'x'); }),
              testing::HasSubstr("is no model name"));
  EXPECT_EQ(error([](auto* m) { m->name = std::string(64, 'x'); }), "");
  EXPECT_THAT(error([](auto* m) { m->format = "hf9"; }),
              testing::AllOf(
                  testing::StartsWith("model \"one\": \"hf9\" is none of fp16, hf8, hf8x, hf10,"),
                  testing::EndsWith(", fp8-e4m3; did you mean \"hf8\"?")));
  EXPECT_EQ(error([](auto* m) { m->scope = "conv"; }),
            "model \"one\": \"conv\" is none of attention, linear, linear+conv");
  EXPECT_EQ(error([](auto* m) { m->compute_dtype = "float32"; }),
            "model \"one\": \"float32\" is none of auto, fp16, bf16, fp32");
  EXPECT_EQ(error([](auto* m) { m->vae_tiling = "on"; }),
            "model \"one\": \"on\" is none of auto, always, never");
  EXPECT_EQ(error([](auto* m) { m->vae_tile_px = -8; }),
            "model \"one\": must be from 0 to 16384, not -8");
  EXPECT_THAT(error([](auto* m) { m->budget_mib = -1; }), testing::StartsWith("model \"one\": "));
  EXPECT_EQ(error([](auto* m) { m->budget_mib = 0.5; }), "");
  EXPECT_EQ(error([](auto* m) { m->keep_alive_seconds = -1; }),
            "model \"one\": must be from 0 to 31622400 (366 days), not -1");
  EXPECT_EQ(error([](auto* m) { m->keep_alive_seconds = 31'622'400; }), "");
  EXPECT_EQ(error([](auto* m) { m->keep_alive_seconds = 31'622'401; }),
            "model \"one\": must be from 0 to 31622400 (366 days), not 31622401");
  EXPECT_EQ(error([](auto* m) { m->vae = "/nonexistent.safetensors"; }),
            "model \"one\": /nonexistent.safetensors is no file");
  EXPECT_EQ(error([this](auto* m) { m->vae = directories_.Path("file"); }), "");
  EXPECT_EQ(error([](auto* m) { m->exclude = {"conv in"}; }),
            "model \"one\": \"conv in\" is no module name, as in down_blocks.0 or conv_in");
  EXPECT_EQ(error([](auto* m) { m->exclude = {""}; }),
            "model \"one\": \"\" is no module name, as in down_blocks.0 or conv_in");
}

TEST_F(ConfigTest, RefusesAPathWithoutAModel) {
  const auto error = [this](const std::string& path) {
    return ErrorAfter([&](ServerConfig* config) { config->models[0].path = path; });
  };
  EXPECT_EQ(error("/nonexistent/sdxl"), "model \"one\": /nonexistent/sdxl does not exist");
  EXPECT_EQ(error(directories_.Path("file")),
            "model \"one\": " + directories_.Path("file") + " is not a directory");
  EXPECT_EQ(error(directories_.Path("empty")),
            "model \"one\": " + directories_.Path("empty") +
                " holds no model.json; export a pipeline with tightfit-export");
}

TEST_F(ConfigTest, RefusesLimitsThatExcludeEachOther) {
  const auto error = [this](const std::function<void(Limits*)>& change) {
    return ErrorAfter([&](ServerConfig* config) { change(&config->limits); });
  };
  EXPECT_EQ(error([](auto* l) { l->min_side_px = 4096; }),
            "limits.min_side_px: 4096 is above max_side_px, 2048");
  EXPECT_EQ(error([](auto* l) { l->max_area_px = 255; }),
            "limits.max_area_px: 255 is below min_side_px squared, 256");
  EXPECT_EQ(error([](auto* l) { l->max_pixel_steps = 255; }),
            "limits.max_pixel_steps: 255 is below min_side_px squared, 256");
  EXPECT_EQ(error([](auto* l) { l->max_receive_message_bytes = 1024; }),
            "limits.max_prompt_bytes: 4096 is above max_receive_message_bytes, 1024");
  EXPECT_EQ(error([](auto* l) { l->max_receive_message_bytes = 1 << 20; }),
            "limits.max_input_image_bytes: 8388608 is above max_receive_message_bytes, 1048576");
  EXPECT_EQ(error([](auto* l) { l->max_send_message_bytes = 2048; }),
            "limits.image_chunk_bytes: 65536 is above max_send_message_bytes, 2048");
  EXPECT_EQ(error([](auto* l) { l->max_send_message_bytes = 1 << 20; }),
            "limits.max_unary_reply_bytes: 4194304 is above max_send_message_bytes, 1048576");
  EXPECT_EQ(error([](auto* l) {
              l->grpc_memory_quota_bytes = 1 << 20;
              l->max_receive_message_bytes = 2 << 20;
              l->max_input_image_bytes = 1 << 20;
            }),
            "limits.max_receive_message_bytes: 2097152 is above grpc_memory_quota_bytes, 1048576");
}

TEST_F(ConfigTest, BeginsAnErrorWithItsOrigin) {
  ServerConfig config = Valid();
  config.models[0].format = "hf9";
  const ConfigOrigins origins = {{"model.one.format", "t.toml:9: format of [[model]] \"one\""}};
  EXPECT_THAT(ValidateConfig(config, origins).message(),
              testing::StartsWith("t.toml:9: format of [[model]] \"one\": \"hf9\" is none of"));
}

TEST(BadConfigurationTest, IsOneLineWhateverItQuotes) {
  EXPECT_EQ(BadConfiguration("a\nb\tc\r\x7f").message(), "a b c  ");
}

}  // namespace
}  // namespace tightfit
