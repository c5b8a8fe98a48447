#include "server/config/command_line.h"

#include "server/config/config_settings.h"
#include "tests/unit/config/model_directories.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace tightfit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CommandLineTest : public testing::Test {
 protected:
  Result<CommandLine> Read(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "tightfit-server");
    std::vector<const char*> argv;
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    return ReadCommandLine(static_cast<int>(argv.size()), argv.data());
  }

  std::string Error(std::vector<std::string> arguments) const {
    return Read(std::move(arguments)).status().message();
  }

  std::string Model(const std::string& name) const { return name + "=" + directories_.Path(name); }

  ModelDirectories directories_;
};

TEST_F(CommandLineTest, ServesAModelNamedByAFlag) {
  const Result<CommandLine> line =
      Read({"--model", Model("one") + ",format=hf8x,scope=linear,compute_dtype=bf16," +
                           "exclude=conv_in;mid_block"});
  ASSERT_TRUE(line.ok()) << line.status().message();
  EXPECT_EQ(line->action, CommandLine::Action::kServe);
  ASSERT_EQ(line->config.models.size(), 1u);
  const ModelSpec& model = line->config.models[0];
  EXPECT_EQ(model.name, "one");
  EXPECT_EQ(model.path, directories_.Path("one"));
  EXPECT_EQ(model.format, "hf8x");
  EXPECT_EQ(model.scope, "linear");
  EXPECT_EQ(model.compute_dtype, "bf16");
  EXPECT_THAT(model.exclude, ElementsAre("conv_in", "mid_block"));
}

TEST_F(CommandLineTest, PutsFlagsOverTheFile) {
  const std::string path = directories_.Write(
      "tightfit.toml",
      "listen = \"127.0.0.1:1\"\nthreads = 3\n[limits]\nmax_step_count = 10\n"
      "max_image_count = 2\n[[model]]\nname = \"one\"\npath = \"one\"\nformat = \"hf12\"\n"
      "[[model]]\nname = \"two\"\npath = \"two\"\n");
  const Result<CommandLine> line =
      Read({"--config", path, "--listen=127.0.0.1:2", "--max-step-count", "20", "--model",
            "one=" + directories_.Path("two") + ",scope=attention"});
  ASSERT_TRUE(line.ok()) << line.status().message();
  const ServerConfig& config = line->config;
  EXPECT_EQ(config.listen, "127.0.0.1:2");
  EXPECT_EQ(config.threads, 3);
  EXPECT_EQ(config.limits.max_step_count, 20);
  EXPECT_EQ(config.limits.max_image_count, 2);
  ASSERT_EQ(config.models.size(), 2u);
  EXPECT_EQ(config.models[0].name, "one");
  EXPECT_EQ(config.models[0].path, directories_.Path("two"));
  EXPECT_EQ(config.models[0].format, "auto") << "a flag replaces the model, it does not merge";
  EXPECT_EQ(config.models[0].scope, "attention");
  EXPECT_EQ(config.models[1].name, "two");
}

TEST_F(CommandLineTest, TakesSeveralModels) {
  const Result<CommandLine> line = Read({"--model", Model("two"), "--model", Model("one")});
  ASSERT_TRUE(line.ok()) << line.status().message();
  ASSERT_EQ(line->config.models.size(), 2u);
  EXPECT_EQ(line->config.models[0].name, "two");
  EXPECT_EQ(line->config.models[1].name, "one");
}

TEST_F(CommandLineTest, TakesCommasAndBackslashesOfPaths) {
  const auto copied = [this](const std::string& name) {
    std::filesystem::create_directory(directories_.Path(name));
    return directories_.Write(name + "/model.json", "{}");
  };
  copied("a, b");
  copied("c\\d");
  copied("e\\,f=g");
  const auto path_of = [this](const std::string& written) {
    const Result<CommandLine> line =
        Read({"--model", "one=" + directories_.Path(written) + ",format=hf8x"});
    EXPECT_TRUE(line.ok()) << line.status().message();
    return line.ok() ? line->config.models[0].path : "";
  };
  EXPECT_EQ(path_of("a\\, b"), directories_.Path("a, b"));
  EXPECT_EQ(path_of("c\\d"), directories_.Path("c\\d")) << "any other backslash is one";
  EXPECT_EQ(path_of("c\\\\d"), directories_.Path("c\\d"));
  EXPECT_EQ(path_of("e\\\\\\,f=g"), directories_.Path("e\\,f=g"));
  EXPECT_THAT(Error({"--model", "one=" + directories_.Path("a, b")}),
              HasSubstr("a comma of a path is written \\,"));
  const std::string vae = directories_.Write("v,1", "x");
  const Result<CommandLine> line =
      Read({"--model", Model("one") + ",vae=" + directories_.Path("v\\,1")});
  ASSERT_TRUE(line.ok()) << line.status().message();
  EXPECT_EQ(line->config.models[0].vae, vae);
}

TEST_F(CommandLineTest, SwitchesMetricsOffWithAnEmptyAddress) {
  const Result<CommandLine> line = Read({"--model", Model("one"), "--metrics-listen", ""});
  ASSERT_TRUE(line.ok()) << line.status().message();
  EXPECT_EQ(line->config.metrics_listen, "");
}

TEST_F(CommandLineTest, ChecksWithoutServing) {
  const Result<CommandLine> line = Read({"--check", "--model", Model("one")});
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(line->action, CommandLine::Action::kCheck);
  EXPECT_FALSE(Read({"--check"}).ok());
}

TEST_F(CommandLineTest, HelpNamesEveryFlagDefaultAndFormat) {
  const Result<CommandLine> line = Read({"--help"});
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(line->action, CommandLine::Action::kHelp);
  for (const Setting& setting : Settings()) {
    EXPECT_THAT(line->help, HasSubstr(setting.flag() + " "));
    EXPECT_THAT(line->help, HasSubstr("[" + SettingText(setting, ServerConfig()))) << setting.key;
  }
  for (const std::string_view format : ModelFormats()) {
    EXPECT_THAT(line->help, HasSubstr(std::string(format)));
  }
  for (const char* flag : {"--config FILE", "--model NAME=PATH", "--check", "--version", "78"}) {
    EXPECT_THAT(line->help, HasSubstr(flag));
  }
  EXPECT_EQ(Read({"-h"})->action, CommandLine::Action::kHelp);
}

TEST_F(CommandLineTest, HelpFitsAHundredColumns) {
  const std::string help = Read({"--help"})->help;
  for (size_t start = 0; start < help.size();) {
    const size_t end = std::min(help.find('\n', start), help.size());
    EXPECT_LE(end - start, 100u) << help.substr(start, end - start);
    start = end + 1;
  }
}

TEST_F(CommandLineTest, AnswersVersionWithoutAConfiguration) {
  EXPECT_EQ(Read({"--version"})->action, CommandLine::Action::kVersion);
}

TEST_F(CommandLineTest, NamesTheMistakeInEachBadLine) {
  const std::string one = Model("one");
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"--lisen", "x"}, "unknown argument \"--lisen\"; did you mean \"--listen\"? See --help."},
      {{"--max-steps=3"}, "unknown argument \"--max-steps\""},
      {{"serve"}, "unknown argument \"serve\" See --help."},
      {{"--listen"}, "--listen"},
      {{"--listen", "a:1", "--listen", "b:1"}, "--listen"},
      {{"--threads", "two"}, "--threads: must be a whole number, not \"two\""},
      {{"--threads", "1.5"}, "--threads: must be a whole number, not \"1.5\""},
      {{"--threads", "9999"}, "--threads: must be from 0 to 1024, not 9999"},
      {{"--drain-timeout-seconds", "-1"}, "--drain-timeout-seconds: must be from 0 to 86400"},
      {{"--max-guidance-scale", "nan"},
       "--max-guidance-scale: must be a finite number, not \"nan\""},
      {{"--watchdog-seconds", "inf"}, "--watchdog-seconds: must be a finite number, not \"inf\""},
      {{"--threads", "-0"}, "--threads: must not be a negative zero; write 0"},
      {{"--model", one + ",priority=nan"}, "--model one: priority must be a whole number"},
      {{"--model", one + ",keep_alive_seconds=99999999999"},
       "--model one: keep_alive_seconds 99999999999 is too large"},
      {{"--log-level", "loud"}, "--log-level: \"loud\" is none of"},
      {{"--log-format", "xml"}, "--log-format: \"xml\" is none of text, json"},
      {{"--max-queued-requests", "0"}, "--max-queued-requests: must be from 1 to 100000, not 0"},
      {{"--config", "/nonexistent.toml"}, "/nonexistent.toml: No such file or directory"},
      {{"--model", "one"}, "--model \"one\": write NAME=PATH"},
      {{"--model", "=x"}, "--model \"=x\": write NAME=PATH"},
      {{"--model", "one="}, "--model \"one=\": write NAME=PATH"},
      {{"--model", one + ",formt=hf8"},
       "--model one: unknown key \"formt\"; did you mean \"format\"?"},
      {{"--model", one + ",name=two"}, "--model one: unknown key \"name\""},
      {{"--model", one + ",format"}, "--model one: format has no value"},
      {{"--model", one + ",format="}, "--model one: format has no value"},
      {{"--model", one + ",format=hf8,format=hf8"}, "--model one: format is given twice"},
      {{"--model", one + ",format=hf7"}, "--model one: format: \"hf7\" is none of fp16, hf8"},
      {{"--model", one + ",exclude=a;;b"}, "--model one: exclude: \"\" is no module name"},
      {{"--model", one, "--model", one}, "--model one: this name is given twice"},
      {{"--model", "one=/nonexistent"}, "--model one: path: /nonexistent does not exist"},
      {{"--model", "a/b=" + directories_.Path("one")}, "--model a/b: "},
      {{"--model", one, "--device", "cuda:x"}, "--device: \"cuda:x\" is none of auto, cpu, cuda:N"},
      {{"--model", one, "--listen", "localhost"}, "--listen: \"localhost\" has no port"},
      {{"--model", one, "--metrics-listen", "1"}, "--metrics-listen: \"1\" has no port"},
      {{"--model", one, "--min-side-px", "4096"}, "--min-side-px: 4096 is above max_side_px"},
      {{}, "no model is configured"},
  };
  for (const auto& [arguments, expected] : cases) {
    const std::string error = Error(arguments);
    EXPECT_THAT(error, HasSubstr(expected)) << testing::PrintToString(arguments);
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

TEST_F(CommandLineTest, NamesTheLineOfABadValueThatOnlyTheWholeShows) {
  const std::string path = directories_.Write(
      "bad.toml", "threads = 1\ndevice = \"rocm:1\"\n[[model]]\nname=\"one\"\npath=\"one\"\n");
  EXPECT_EQ(Error({"--config", path}),
            path + ":2: device: \"rocm:1\" is none of auto, cpu, cuda:N");
}

}  // namespace
}  // namespace tightfit
