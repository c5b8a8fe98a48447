#include "server/config/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The error of a text, as a file named tightfit.toml.
std::string ErrorOf(std::string_view text) {
  ServerConfig config;
  ConfigOrigins origins;
  return ParseConfigText(text, "tightfit.toml", &config, &origins).message();
}

TEST(ConfigFileTest, ReadsSettingsLimitsAndModels) {
  ServerConfig config;
  ConfigOrigins origins;
  const Status status = ParseConfigText(R"(
listen = "unix:/run/x.sock"
drain_timeout_seconds = 1.5
[limits]
max_step_count = 20
[[model]]
name = "a"
path = "/models/a"
format = "hf12"
scope = "attention"
compute_dtype = "fp32"
exclude = ["conv_in", "mid_block"]
vae = "vae.safetensors"
vae_tiling = "always"
vae_tile_px = 512
budget_mib = 17.5
[[model]]
name = "b"
path = "b"
)",
                                        "/etc/tightfit/tightfit.toml", &config, &origins);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(config.listen, "unix:/run/x.sock");
  EXPECT_EQ(config.drain_timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(config.limits.max_step_count, 20);
  ASSERT_EQ(config.models.size(), 2u);
  EXPECT_EQ(config.models[0].name, "a");
  EXPECT_EQ(config.models[0].path, "/models/a");
  EXPECT_EQ(config.models[0].format, "hf12");
  EXPECT_EQ(config.models[0].scope, "attention");
  EXPECT_EQ(config.models[0].compute_dtype, "fp32");
  EXPECT_THAT(config.models[0].exclude, ElementsAre("conv_in", "mid_block"));
  EXPECT_EQ(config.models[0].vae, "/etc/tightfit/vae.safetensors");
  EXPECT_EQ(config.models[0].vae_tiling, "always");
  EXPECT_EQ(config.models[0].vae_tile_px, 512);
  EXPECT_EQ(config.models[0].budget_mib, 17.5);
  EXPECT_EQ(config.models[1].path, "/etc/tightfit/b");
  EXPECT_EQ(config.models[1].vae, "");
  EXPECT_EQ(config.models[1].format, ModelSpec().format);
}

TEST(ConfigFileTest, NotesWhereASettingStands) {
  ServerConfig config;
  ConfigOrigins origins;
  ASSERT_TRUE(ParseConfigText("\nthreads = 1\n[[model]]\nname = \"a\"\npath = \"p\"\n", "t.toml",
                              &config, &origins)
                  .ok());
  EXPECT_EQ(origins["threads"], "t.toml:2: threads");
  EXPECT_EQ(origins["model.a.path"], "t.toml:5: path of [[model]] \"a\"");
}

struct BadText {
  const char* text;
  const char* error;
};

TEST(ConfigFileTest, NamesLineAndMistakeOfEachBadText) {
  const BadText cases[] = {
      {"[[model]]\nname = \"sdxl\"\npath = \"p\"\nformt = \"hf8\"\n",
       "tightfit.toml:4: unknown key \"formt\" in [[model]] \"sdxl\"; did you mean \"format\"?"},
      {"lisen = \"x\"",
       "tightfit.toml:1: unknown key \"lisen\" at the top of the file; did you mean \"listen\"?"},
      {"modle = 1",
       "tightfit.toml:1: unknown key \"modle\" at the top of the file; did you mean \"model\"?"},
      {"temperature = 1", "tightfit.toml:1: unknown key \"temperature\" at the top of the file"},
      {"max_side_px = 64", "tightfit.toml:1: unknown key \"max_side_px\" at the top of the file"},
      {"[limits]\nlisten = \"x\"", "tightfit.toml:2: unknown key \"listen\" in [limits]"},
      {"[limits]\nmax_side = 5\n",
       "tightfit.toml:2: unknown key \"max_side\" in [limits]; did you mean \"max_side_px\"?"},
      {"\nlisten = 5", "tightfit.toml:2: listen: must be a string, not a whole number"},
      {"listen = [\"a\"]", "tightfit.toml:1: listen: must be a string, not an array"},
      {"threads = \"2\"", "tightfit.toml:1: threads: must be a whole number, not a string"},
      {"threads = 2.0", "tightfit.toml:1: threads: must be a whole number, not a fraction"},
      {"threads = true", "tightfit.toml:1: threads: must be a whole number, not true or false"},
      {"threads = -1", "tightfit.toml:1: threads: must be from 0 to 1024, not -1"},
      {"threads = 2000", "tightfit.toml:1: threads: must be from 0 to 1024, not 2000"},
      {"threads = 1979-05-27",
       "tightfit.toml:1: threads: must be a whole number, not a date or time"},
      {"drain_timeout_seconds = \"25s\"",
       "tightfit.toml:1: drain_timeout_seconds: must be a number, not a string"},
      {"drain_timeout_seconds = nan",
       "tightfit.toml:1: drain_timeout_seconds: must be from 0 to 86400, not nan"},
      {"drain_timeout_seconds = -0.5",
       "tightfit.toml:1: drain_timeout_seconds: must be from 0 to 86400, not -0.5"},
      {"max_running_requests = 0",
       "tightfit.toml:1: max_running_requests: must be from 1 to 64, not 0"},
      {"log_level = \"warn\"",
       "tightfit.toml:1: log_level: \"warn\" is none of debug, info, warning, error"},
      {"log_format = \"jason\"",
       "tightfit.toml:1: log_format: \"jason\" is none of text, json; did you mean \"json\"?"},
      {"limits = 5", "tightfit.toml:1: limits: must be a table, [limits], not a whole number"},
      {"[limits]\nmax_queued_requests = 0",
       "tightfit.toml:2: max_queued_requests: must be from 1 to 100000, not 0"},
      {"[limits]\nmax_area_px = 9223372036854775807",
       "tightfit.toml:2: max_area_px: must be from 1 to 268435456, not "},
      {"[limits]\nmax_guidance_scale = inf",
       "tightfit.toml:2: max_guidance_scale: must be from 0 to 1000, not inf"},
      {"[limits]\nmax_guidance_scale = -0.0",
       "tightfit.toml:2: max_guidance_scale: must not be a negative zero; write 0"},
      {"[limits]\nmax_guidance_scale = 1e400", "tightfit.toml:2: "},
      {"drain_timeout_seconds = -inf",
       "tightfit.toml:1: drain_timeout_seconds: must be from 0 to 86400, not -inf"},
      {"[model]\nname = \"a\"",
       "tightfit.toml:1: model: must be tables, each begun by [[model]], not a table"},
      {"model = [1]",
       "tightfit.toml:1: model: must be tables, each begun by [[model]], not a whole number"},
      {"\n[[model]]\npath = \"p\"", "tightfit.toml:2: [[model]] has no name"},
      {"[[model]]\nname = 7", "tightfit.toml:2: name: must be a string, not a whole number"},
      {"[[model]]\nname = \"a\"", "tightfit.toml:1: [[model]] \"a\" has no path"},
      {"[[model]]\nname = \"a\"\npath = false",
       "tightfit.toml:3: path of [[model]] \"a\": must be a string, not true or false"},
      {"[[model]]\nname = \"a\"\npath = \"p\"\n[[model]]\nname = \"a\"\npath = \"q\"",
       "tightfit.toml:5: two models are named \"a\""},
      {"[[model]]\nname = \"a\"\npath = \"p\"\nexclude = \"conv_in\"",
       "tightfit.toml:4: exclude of [[model]] \"a\": must be an array of strings, not a string"},
      {"[[model]]\nname = \"a\"\npath = \"p\"\nexclude = [1]",
       "tightfit.toml:4: exclude of [[model]] \"a\": must be an array of strings, not a whole "
       "number"},
      {"\n\nlisten = ", "tightfit.toml:3: "},
      {"listen = \"a\"\nlisten = \"b\"", "tightfit.toml:2: "},
      {"listen = \"unfinished", "tightfit.toml:1: "},
      {"listen \"a\"", "tightfit.toml:1: "},
      {"a = \"\xff\"", "tightfit.toml:1: "},
  };
  for (const BadText& bad : cases) {
    const std::string error = ErrorOf(bad.text);
    EXPECT_THAT(error, testing::StartsWith(bad.error)) << bad.text;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

TEST(ConfigFileTest, TellsWhyAFileCannotBeRead) {
  ServerConfig config;
  ConfigOrigins origins;
  EXPECT_EQ(ReadConfigFile("/nonexistent/tightfit.toml", &config, &origins).message(),
            "/nonexistent/tightfit.toml: No such file or directory");
  EXPECT_EQ(ReadConfigFile("/", &config, &origins).message(), "/: Is a directory");
}

TEST(ConfigFileTest, RefusesAFileThatIsNoConfigurationBySize) {
  ServerConfig config;
  ConfigOrigins origins;
  EXPECT_THAT(ReadConfigFile("/dev/zero", &config, &origins).message(),
              HasSubstr("/dev/zero: is larger than 1 MiB"));
}

}  // namespace
}  // namespace tightfit
