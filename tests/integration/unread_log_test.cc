// A server whose standard error is a pipe that is full and that nobody reads.
#include "server/app/serve.h"
#include "tests/integration/served_fixture.h"
#include "tightfit/v1/model.grpc.pb.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

namespace tightfit {
namespace {

using std::chrono::seconds;

class UnreadLogTest : public ServedFixture {
 protected:
  void StartWithFullPipe(const std::map<std::string, std::string>& environment = {}) {
    const std::string pipe = scratch_.Path("log");
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    pipe_ = open(pipe.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    ASSERT_GE(pipe_, 0);
    const std::string bytes(4096, '-');
    while (write(pipe_, bytes.data(), bytes.size()) > 0) {
    }
    const std::string program =
        scratch_.Write("server.sh", "#!/bin/sh\nexec '" + std::string(TIGHTFIT_FAKE_SERVER) +
                                        "' \"$@\" 2>'" + pipe + "'\n");
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    server_ = ServerProcess::Start(program, scratch_,
                                   {"--log-level=debug", "--drain-timeout-seconds=2",
                                    "--model=one=" + scratch_.MakeModel("one") + ",preload=true"},
                                   environment);
    ASSERT_NE(server_, nullptr);
    ASSERT_TRUE(server_->WaitForAddresses());
    channel_ = Connect();
    health_ = std::make_unique<HealthClient>(channel_);
    ASSERT_TRUE(WaitForHealth("", "SERVING"));
  }
  void TearDown() override {
    server_.reset();
    close(pipe_);
  }

  int pipe_ = -1;
};

TEST_F(UnreadLogTest, HoldsUpNoRequestNoLoadAndNoEnd) {
  StartWithFullPipe();
  const auto models = v1::ModelService::NewStub(channel_);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(StreamingRequest(channel_, Parameters(1)).Finish().ok());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + seconds(10));
    v1::UnloadModelRequest request;
    request.set_name("one");
    v1::UnloadModelResponse response;
    const grpc::Status status = models->UnloadModel(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
  Terminate();
  EXPECT_EQ(ExitCode(), kExitDrained);
}

TEST_F(UnreadLogTest, DoesNotKeepTheDrainTimeoutFromEndingTheServer) {
  scratch_.Write("hold", "");
  StartWithFullPipe({{"FAKE_STEP_HOLD", scratch_.Path("hold")}});
  StreamingRequest running(channel_, Parameters(4));
  ASSERT_TRUE(running.WaitForStarted());
  Terminate();
  EXPECT_EQ(ExitCode(), kExitDrainTimeout);
}

}  // namespace
}  // namespace tightfit
