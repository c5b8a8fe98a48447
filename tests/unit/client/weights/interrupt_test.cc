#include "tests/unit/client/cli/run_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace tightfit::weights::testing {
namespace {

using cli::testing::RunningCommand;
using cli::testing::RunResult;
using cli::testing::TemporaryFolder;

TEST(InterruptTest, LeavesNoFileAndExitsWithTheSignalsCode) {
  const TemporaryFolder folder;
  // 64 million zeros, of which the file system stores none: seconds of work.
  std::ofstream(folder.path() / "in").put('\0');
  std::filesystem::resize_file(folder.path() / "in", int64_t{128} << 20);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGPWR,
                           SIGXCPU, SIGRTMIN, SIGRTMAX}) {
    RunningCommand command({.arguments = {"encode", "--format", "e3m8r", "--shape", "8192x8192",
                                          "--threads", "1", "in", "out"},
                            .directory = folder.path()});
    ASSERT_TRUE(command.WaitUntilBlocked(number));
    command.Signal(number);
    const RunResult run = command.Wait();
    EXPECT_EQ(run.exit_code, 128 + number);
    EXPECT_EQ(run.err, "interrupted: nothing was written\n");
    EXPECT_EQ(folder.Names(), std::vector<std::string>{"in"});
  }
}

TEST(InterruptTest, ASecondSignalEndsItAtOnceAndLeavesNoFileEither) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "in").put('\0');
  std::filesystem::resize_file(folder.path() / "in", int64_t{128} << 20);
  RunningCommand command({.arguments = {"encode", "--format", "hf8", "--shape", "8192x8192",
                                        "--threads", "1", "in", "out"},
                          .directory = folder.path()});
  ASSERT_TRUE(command.WaitUntilBlocked(SIGINT));
  while (folder.Names().size() == 1 && command.WaitUntilBlocked(SIGINT)) usleep(100);
  command.Signal(SIGINT);
  command.Signal(SIGTERM);
  EXPECT_THAT(command.Wait().exit_code, ::testing::AnyOf(0, 130, 143));
  EXPECT_THAT(folder.Names(), ::testing::Not(::testing::Contains(::testing::StartsWith("."))));
}

}  // namespace
}  // namespace tightfit::weights::testing
