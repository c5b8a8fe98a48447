#include "tests/unit/client/cli/run_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tightfit::cli::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

TEST(UsageTest, MainHelpNamesEveryCommandAndExitCode) {
  const RunResult run = RunTightfit({.arguments = {"--help"}});
  EXPECT_EQ(run.exit_code, 0);
  for (const char* word : {"generate", "models", "info", "--version", "Examples:", "130"}) {
    EXPECT_THAT(run.out, HasSubstr(word));
  }
}

TEST(UsageTest, GenerateHelpNamesEveryFlagAndGivesExamples) {
  const RunResult run = RunTightfit({.arguments = {"generate", "--help"}});
  EXPECT_EQ(run.exit_code, 0);
  for (const char* flag : {"--server",        "--connect-timeout", "--timeout",
                           "--json",          "--model",           "--prompt",
                           "--prompt-2",      "--negative-prompt", "--negative-prompt-2",
                           "--width",         "--height",          "--steps",
                           "--guidance",      "--sampler",         "--seed",
                           "--count",         "--original-size",   "--target-size",
                           "--crop-top-left", "--request-id",      "--no-metadata",
                           "-o,--output",     "-q,--quiet",        "TIGHTFIT_SERVER",
                           "127.0.0.1:50051", "Examples:"}) {
    EXPECT_THAT(run.out, HasSubstr(flag));
  }
}

TEST(UsageTest, OtherHelpsNameTheirFlagsAndGiveExamples) {
  for (const char* command : {"models", "info"}) {
    const RunResult run = RunTightfit({.arguments = {command, "--help"}});
    EXPECT_EQ(run.exit_code, 0);
    for (const char* flag : {"--server", "--connect-timeout", "--timeout", "--json", "Examples:"}) {
      EXPECT_THAT(run.out, HasSubstr(flag)) << command;
    }
  }
}

TEST(UsageTest, VersionIsOneLine) {
  const RunResult run = RunTightfit({.arguments = {"--version"}});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.out, MatchesRegex("tightfit [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

struct Mistake {
  std::vector<std::string> arguments;
  std::string message;
};

TEST(UsageTest, MistakesExitWithTwoAndSayWhatIsWrong) {
  const Mistake mistakes[] = {
      {{}, "a command is needed: generate, models, load, unload, update, info, fidelity or pack"},
      {{"draw"}, "there is no command \"draw\""},
      {{"generate"}, "prompt: missing"},
      {{"generate", "apple", "--prompt", "apple"}, "given twice"},
      {{"generate", "apple", "pear"}, "pear"},
      {{"generate", "apple", "--width", "6.5"}, "--width: must be a whole number, not \"6.5\""},
      {{"generate", "apple", "--width", "0x40"}, "--width: must be a whole number, not \"0x40\""},
      {{"generate", "apple", "--width", ""}, "--width: must be a whole number, not \"\""},
      {{"generate", "apple", "--width", "99999999999"}, "--width: 99999999999 is too large"},
      {{"generate", "apple", "--steps", "many"}, "--steps"},
      {{"generate", "apple", "--seed", "9223372036854775808"},
       "--seed: 9223372036854775808 is too large"},
      {{"generate", "apple", "--no-such-flag"}, "--no-such-flag"},
      {{"generate", "apple", "--target-size", "64"}, "--target-size: \"64\" is not of the form"},
      {{"generate", "apple", "--target-size", "64x"}, "--target-size"},
      {{"generate", "apple", "--original-size", "64x32x1"}, "--original-size"},
      {{"generate", "apple", "--crop-top-left", "1x2"}, "--crop-top-left"},
      {{"generate", "apple", "--timeout", "0"}, "--timeout"},
      {{"generate", "apple", "--timeout", "-1"}, "--timeout"},
      {{"generate", "apple", "--server", "http://127.0.0.1:1"}, "without http://"},
      {{"generate", "apple", "-o", "apple.jpg"}, "images are PNG"},
      {{"generate", "apple", "-o", "/no/such/folder/apple.png"}, "cannot write /no/such/folder"},
      {{"models", "--server", ""}, "--server"},
  };
  for (const Mistake& mistake : mistakes) {
    const RunResult run = RunTightfit(
        {.arguments = mistake.arguments, .environment = {"TIGHTFIT_SERVER=127.0.0.1:1"}});
    EXPECT_EQ(run.exit_code, 2) << mistake.message;
    EXPECT_EQ(run.out, "") << mistake.message;
    EXPECT_THAT(run.err, StartsWith("error: "));
    EXPECT_THAT(run.err, HasSubstr(mistake.message));
  }
}

TEST(UsageTest, UnknownNamesGetTheNearestAndNeverBlameAValue) {
  const Mistake mistakes[] = {
      {{"generate", "apple", "--modle", "my-model"},
       "there is no option \"--modle\"; did you mean \"--model\"?"},
      {{"generate", "apple", "--modle=my-model"},
       "there is no option \"--modle\"; did you mean \"--model\"?"},
      {{"generate", "apple", "--num-inference-steps", "5"}, "did you mean \"--steps\"?"},
      {{"generate", "apple", "--cfg-scale", "5"}, "did you mean \"--guidance\"?"},
      {{"models", "--wacth"}, "there is no option \"--wacth\"; did you mean \"--watch\"?"},
      {{"--vesion"}, "there is no option \"--vesion\"; did you mean \"--version\"?"},
      {{"list"}, "there is no command \"list\"; did you mean \"models\"?"},
      {{"--server", "localhost:1"}, "a command comes first, then its options: generate, "},
      {{"--json", "models"}, "\"--json\" belongs behind \"models\""},
      {{"genrate", "apple"}, "there is no command \"genrate\"; did you mean \"generate\"?"},
      {{"generate", "red", "apple"}, "\"apple\" is one word too many; a text of several words"},
      {{"info", "--server", "grpc://127.0.0.1:1"}, "--server: give HOST:PORT without grpc://"},
      {{"info", "--server", "tcp://127.0.0.1:1"}, "--server: give HOST:PORT without tcp://"},
  };
  for (const Mistake& mistake : mistakes) {
    const RunResult run = RunTightfit({.arguments = mistake.arguments});
    EXPECT_EQ(run.exit_code, 2) << mistake.message;
    EXPECT_THAT(run.err, StartsWith("error: "));
    EXPECT_THAT(run.err, HasSubstr(mistake.message));
    EXPECT_THAT(run.err, Not(HasSubstr("my-model"))) << run.err;
  }
}

TEST(UsageTest, HelpAndVersionComeByEveryUsualName) {
  const std::string help = RunTightfit({.arguments = {"--help"}}).out;
  EXPECT_EQ(RunTightfit({.arguments = {"help"}}).out, help);
  EXPECT_EQ(RunTightfit({.arguments = {"-h"}}).out, help);
  EXPECT_EQ(RunTightfit({.arguments = {"help", "models"}}).out,
            RunTightfit({.arguments = {"models", "--help"}}).out);
  EXPECT_EQ(RunTightfit({.arguments = {"-V"}}).out, RunTightfit({.arguments = {"--version"}}).out);
}

}  // namespace
}  // namespace tightfit::cli::testing
