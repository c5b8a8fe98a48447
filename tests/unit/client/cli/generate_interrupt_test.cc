#include "tests/unit/client/bound_port.h"
#include "tests/unit/client/cli/run_command.h"
#include "tests/unit/client/scripted_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <signal.h>

#include <future>
#include <string>

namespace tightfit::cli::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using namespace tightfit::testing;  // NOLINT: the script's vocabulary

// Sends one image of two, then waits for the client to go.
class GenerateInterruptTest : public ::testing::Test {
 protected:
  RunResult InterruptWith(int number) {
    RunningCommand command({.arguments = {"generate", "apple", "--json", "-o", "apple.png",
                                          "--server", server_.address()},
                            .directory = folder_.path()});
    sent_.get_future().wait();
    // The client has the image once its file is there.
    while (!std::filesystem::exists(folder_.path() / "apple-1.png")) usleep(2000);
    command.Signal(number);
    return command.Wait();
  }

  TemporaryFolder folder_;
  std::promise<void> sent_;
  std::promise<bool> cancelled_;
  const ScriptedServer server_{
      {.stream_images = [this](grpc::ServerContext& context, const auto&, StreamWriter& writer) {
        writer.Write(StartedEvent(42, 2));
        writer.Write(ChunkEvent(0, 0, "ab", 2, true));
        writer.Write(ChunkEvent(1, 0, "ab", 4, false));
        sent_.set_value();
        cancelled_.set_value(WaitForCancel(context));
        return grpc::Status::CANCELLED;
      }}};
};

TEST_F(GenerateInterruptTest, CtrlCCancelsOnTheServerAndKeepsWholeImages) {
  const RunResult run = InterruptWith(SIGINT);
  EXPECT_EQ(run.exit_code, 130);
  EXPECT_THAT(run.err, EndsWith("\ninterrupted\n"));
  EXPECT_TRUE(cancelled_.get_future().get());
  EXPECT_THAT(folder_.Names(), ElementsAre("apple-1.png"));
  EXPECT_EQ(ReadFile(folder_.path() / "apple-1.png"), "ab");
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["error"]["code"], "CANCELLED");
  EXPECT_EQ(json["images"].size(), 1u);
}

TEST_F(GenerateInterruptTest, SigtermDoesTheSameWithItsOwnCode) {
  EXPECT_EQ(InterruptWith(SIGTERM).exit_code, 143);
  EXPECT_TRUE(cancelled_.get_future().get());
}

TEST(GenerateInterruptWithoutServerTest, CtrlCEndsTheWaitForAConnection) {
  const BoundPort refused(/*listens=*/false);
  const TemporaryFolder folder;
  RunningCommand command({.arguments = {"generate", "apple", "--server", refused.address(),
                                        "--wait", "--connect-timeout", "60"},
                          .directory = folder.path()});
  ASSERT_TRUE(command.WaitUntilBlocked(SIGINT)) << "the command never watched for Ctrl-C";
  command.Signal(SIGINT);
  const RunResult run = command.Wait();
  EXPECT_EQ(run.exit_code, 130);
  EXPECT_EQ(run.err, "interrupted\n");
}

}  // namespace
}  // namespace tightfit::cli::testing
