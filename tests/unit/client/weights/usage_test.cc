#include "kernels/format.h"
#include "tests/unit/client/cli/run_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace tightfit::weights::testing {
namespace {

using cli::testing::RunResult;
using cli::testing::RunTightfit;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

struct Help {
  std::vector<std::string> arguments;
  std::vector<std::string> words;
};

TEST(WeightsUsageTest, EveryHelpNamesItsFlagsAndGivesExamples) {
  const Help helps[] = {
      {{"--help"}, {"encode", "decode", "report", "formats", "--version", "130"}},
      {{"encode", "--help"}, {"--format", "--shape", "--threads", "--quiet", "IN", "OUT", "row"}},
      {{"decode", "--help"}, {"--to", "fp16, bf16 or fp32", "--quiet", "IN", "OUT"}},
      {{"report", "--help"},
       {"FILE", "--scope", "--name", "--formats", "--bits", "--summary", "--json", "--threads",
        "--quiet", "linear+conv", "rounded to fp16"}},
      {{"formats", "--help"}, {"--json"}},
  };
  for (const Help& help : helps) {
    const RunResult run = RunTightfit({.arguments = help.arguments});
    EXPECT_EQ(run.exit_code, 0);
    EXPECT_EQ(run.err, "");
    EXPECT_THAT(run.out, HasSubstr("Examples:\n  tightfit-weights"));
    for (const std::string& word : help.words) EXPECT_THAT(run.out, HasSubstr(word));
  }
}

TEST(WeightsUsageTest, VersionIsOneLine) {
  const RunResult run = RunTightfit({.arguments = {"--version"}});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.out, MatchesRegex("tightfit-weights [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

struct Mistake {
  std::vector<std::string> arguments;
  std::string message;
};

TEST(WeightsUsageTest, MistakesExitWithTwoAndSayWhatIsWrong) {
  const auto encode = [](const char* format, const char* shape) {
    return std::vector<std::string>{"encode", "--format", format, "--shape", shape, "in", "out"};
  };
  const Mistake mistakes[] = {
      {{}, "a command is needed: report, formats, encode or decode"},
      {{"pack"}, "there is no command \"pack\""},
      {{"encode", "in", "out", "--shape", "4"}, "--format is required"},
      {{"encode", "in", "out", "--format", "hf8"}, "--shape is required"},
      {{"encode", "--format", "hf8", "--shape", "4", "in"}, "out is required"},
      {encode("hf9", "4"), "there is no format \"hf9\"; `tightfit-weights formats` lists them"},
      {encode("hf8", "4x"), "--shape: must be a whole number, not \"\""},
      {encode("hf8", "4x0"), "--shape: must be from 1 to 4294967295, not 0"},
      {encode("hf8", "-4"), "--shape"},
      {encode("hf8", "4X4"), "--shape: must be a whole number, not \"4X4\""},
      {encode("hf8", "1x1x1x1x1"), "must have 1 to 4 dimensions"},
      {encode("hf8", "65536x65536"), "less than 2^32 weights"},
      {encode("hf8", "99999999999999999999"), "--shape"},
      {{"decode", "in", "out", "--to", "fp8"}, "--to: \"fp8\" is not fp16, bf16 or fp32"},
      {{"decode", "in"}, "out is required"},
      {{"report"}, "file is required"},
      {{"report", "f", "--bits", "8,x"}, "--bits: must be a whole number, not \"x\""},
      {{"report", "f", "--bits", "7"}, "--bits: no format has codes of 7 bits"},
      {{"report", "f", "--formats", "hf8,"}, "there is no format \"\""},
      {{"report", "f", "--scope", "all"}, "\"all\" is not attention, linear or linear+conv"},
      {{"report", "f", "--threads", "0"}, "--threads: must be from 1 to 256, not 0"},
      {{"report", "f", "--threads", "nan"}, "--threads: must be a whole number, not \"nan\""},
      {{"report", "f", "--threads", "0x2"}, "--threads: must be a whole number, not \"0x2\""},
      {{"report", "f", "--bits", "-0"}, "--bits: must not be a negative zero"},
      {{"formats", "--no-such-flag"}, "--no-such-flag"},
  };
  for (const Mistake& mistake : mistakes) {
    const RunResult run = RunTightfit({.arguments = mistake.arguments});
    EXPECT_EQ(run.exit_code, 2) << mistake.message;
    EXPECT_EQ(run.out, "") << mistake.message;
    EXPECT_THAT(run.err, StartsWith("error: "));
    EXPECT_THAT(run.err, HasSubstr(mistake.message));
  }
}

TEST(FormatsCommandTest, ListsEveryFormat) {
  const RunResult text = RunTightfit({.arguments = {"formats"}});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, HasSubstr("\nhf8               8        8.000  none"));
  EXPECT_THAT(text.out, HasSubstr("\nq8b32             8        8.500  fp16 per 32"));

  const RunResult json = RunTightfit({.arguments = {"formats", "--json"}});
  const auto formats = nlohmann::json::parse(json.out)["formats"];
  ASSERT_EQ(formats.size(), kFormats.size());
  for (size_t i = 0; i < kFormats.size(); ++i) {
    EXPECT_EQ(formats[i]["name"], kFormats[i].name);
    EXPECT_EQ(formats[i]["number"], i + 1);
    EXPECT_EQ(formats[i]["max_value"], kFormats[i].max_value);
    EXPECT_GE(formats[i]["bits_per_weight"], kFormats[i].bits);
    EXPECT_THAT(text.out, HasSubstr("\n" + std::string(kFormats[i].name) + " "));
  }
  EXPECT_EQ(formats[0]["scaling"], "none");
  EXPECT_EQ(formats[0]["bits_per_weight"], 8.0);
}

}  // namespace
}  // namespace tightfit::weights::testing
