// Every option of `tightfit` that takes a number, as its help tells them: what is no plain decimal
// number is refused, and the option is named.
#include "tests/unit/client/cli/run_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tightfit::cli::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct NumericFlag {
  std::vector<std::string> command;
  std::string flag;
  bool is_pair = false;
};

std::vector<NumericFlag> NumericFlags() {
  std::vector<NumericFlag> flags;
  for (const char* flag :
       {"--width", "--height", "--steps", "--guidance", "--guidance-rescale", "--seed", "--count",
        "--clip-skip", "--comma-backtrack", "--denoising-end", "--denoising-start"}) {
    flags.push_back({{"generate", "apple"}, flag});
  }
  for (const char* flag : {"--original-size", "--target-size", "--crop-top-left"}) {
    flags.push_back({{"generate", "apple"}, flag, true});
  }
  for (const char* flag : {"--keep-alive", "--priority"}) {
    flags.push_back({{"update", "sdxl"}, flag});
  }
  for (const char* command : {"generate", "models", "info", "load", "unload", "update"}) {
    for (const char* flag : {"--timeout", "--connect-timeout"}) {
      flags.push_back({{command, "apple"}, flag});
    }
  }
  return flags;
}

TEST(NumberFlagsTest, NothingButAPlainDecimalNumberIsTaken) {
  for (const NumericFlag& flag : NumericFlags()) {
    for (const std::string text :
         {"nan", "-nan", "inf", "-inf", "Infinity", "1e400", "0x1p3", "0x10", "-0", "-0.0", ""}) {
      std::vector<std::string> arguments = flag.command;
      const char separator = flag.flag == "--crop-top-left" ? ',' : 'x';
      arguments.push_back(flag.flag + "=" + (flag.is_pair ? "64" + (separator + text) : text));
      const RunResult run =
          RunTightfit({.arguments = arguments, .environment = {"TIGHTFIT_SERVER=127.0.0.1:1"}});
      EXPECT_EQ(run.exit_code, 2) << arguments.back();
      EXPECT_THAT(run.err, StartsWith("error: " + flag.flag)) << arguments.back();
      EXPECT_THAT(run.err, HasSubstr("Run tightfit " + flag.command.front() + " --help"));
    }
  }
}

}  // namespace
}  // namespace tightfit::cli::testing
