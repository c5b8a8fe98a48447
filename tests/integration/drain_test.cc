// What SIGTERM and SIGINT do to a server.
#include "server/app/serve.h"
#include "tests/integration/served_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

std::string TextOf(const grpc::Status& status) {
  return std::to_string(status.error_code()) + " " + status.error_message();
}

class DrainTest : public ServedFixture {};

TEST_F(DrainTest, FinishesARunningRequestAndExitsWithZero) {
  scratch_.Write("hold", "");
  StartAndWaitUntilReady({}, {{"FAKE_STEP_HOLD", scratch_.Path("hold")}});
  StreamingRequest running(channel_, Parameters(4));
  ASSERT_TRUE(running.WaitForStarted());

  Terminate();
  ASSERT_TRUE(WaitForHealth("", "NOT_SERVING"));
  EXPECT_EQ(health_->Check("model/one"), "NOT_SERVING");
  StreamingRequest refused(channel_, Parameters(4));
  EXPECT_EQ(refused.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(server_->process().has_exited());

  scratch_.Remove("hold");
  EXPECT_TRUE(running.Finish().ok());
  EXPECT_TRUE(running.completed());
  EXPECT_EQ(running.finished_image_count(), 1);
  EXPECT_EQ(ExitCode(), kExitDrained) << Log();
}

TEST_F(DrainTest, FinishesQueuedRequestsToo) {
  scratch_.Write("hold", "");
  StartAndWaitUntilReady({"--max-running-requests=1"}, {{"FAKE_STEP_HOLD", scratch_.Path("hold")}});
  StreamingRequest running(channel_, Parameters(2));
  ASSERT_TRUE(running.WaitForStarted());
  std::vector<std::unique_ptr<StreamingRequest>> queued;
  for (int i = 0; i < 8; ++i) {
    queued.push_back(std::make_unique<StreamingRequest>(channel_, Parameters(2)));
  }
  for (const auto& request : queued) ASSERT_TRUE(request->WaitForQueued());
  Terminate();
  ASSERT_TRUE(WaitForHealth("", "NOT_SERVING"));
  scratch_.Remove("hold");
  EXPECT_TRUE(running.Finish().ok()) << TextOf(running.Finish());
  for (const auto& request : queued) {
    EXPECT_TRUE(request->Finish().ok()) << TextOf(request->Finish());
  }
  EXPECT_EQ(ExitCode(), kExitDrained) << Log();
}

TEST_F(DrainTest, CutsWhatPassesTheTimeout) {
  StartAndWaitUntilReady({"--drain-timeout-seconds=0.2"}, {{"FAKE_STEP_MILLISECONDS", "50"}});
  StreamingRequest running(channel_, Parameters(150));
  ASSERT_TRUE(running.WaitForStarted());
  const auto before = steady_clock::now();
  Terminate();
  EXPECT_EQ(running.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ExitCode(), kExitDrainTimeout) << Log();
  EXPECT_GE(steady_clock::now() - before, milliseconds(200));
  EXPECT_LT(steady_clock::now() - before, seconds(5)) << "150 steps take 7.5 s";
}

TEST_F(DrainTest, AbandonsAModelThatDoesNotComeBack) {
  scratch_.Write("hold", "");
  StartAndWaitUntilReady({"--drain-timeout-seconds=0.1"},
                         {{"FAKE_STEP_HOLD", scratch_.Path("hold")}});
  StreamingRequest running(channel_, Parameters(4));
  ASSERT_TRUE(running.WaitForStarted());
  Terminate();
  EXPECT_EQ(ExitCode(seconds(10)), kExitDrainTimeout) << Log();
  EXPECT_FALSE(scratch_.Has("addresses.json"));
}

TEST_F(DrainTest, CancelsAtOnceAtASecondSignal) {
  StartAndWaitUntilReady({"--drain-timeout-seconds=600"}, {{"FAKE_STEP_MILLISECONDS", "200"}});
  StreamingRequest running(channel_, Parameters(150));
  ASSERT_TRUE(running.WaitForStarted());
  Terminate();
  ASSERT_TRUE(WaitForHealth("", "NOT_SERVING"));
  Terminate();
  EXPECT_EQ(running.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ExitCode(seconds(10)), kExitDrainTimeout) << Log();
  EXPECT_THAT(Log(), HasSubstr("second signal"));
}

TEST_F(DrainTest, ExitsAtOnceWhenIdle) {
  for (const int signal : {SIGTERM, SIGINT}) {
    StartAndWaitUntilReady();
    server_->process().Signal(signal);
    EXPECT_EQ(ExitCode(seconds(5)), kExitDrained) << Log();
    EXPECT_FALSE(scratch_.Has("addresses.json"));
  }
}

TEST_F(DrainTest, DoesNotWaitForAWatchOnHealth) {
  StartAndWaitUntilReady({"--drain-timeout-seconds=60"});
  // HealthCheckRequest on grpc.health.v1.Health/Watch, which never ends by itself.
  grpc::GenericStub stub(Connect());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  auto call = stub.PrepareCall(&context, "/grpc.health.v1.Health/Watch", &queue);
  call->StartCall(&call);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  call->Write(HealthCheckRequest(""), &call);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::ByteBuffer first;
  call->Read(&first, &call);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);

  Terminate();
  EXPECT_EQ(ExitCode(seconds(5)), kExitDrained) << Log();
  context.TryCancel();
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
}

TEST_F(DrainTest, ExitsDuringALoad) {
  scratch_.Write("hold", "");
  Start({"--drain-timeout-seconds=60"}, {{"FAKE_LOAD_HOLD", scratch_.Path("hold")}});
  Terminate();
  EXPECT_EQ(ExitCode(seconds(5)), kExitDrained) << Log();
  EXPECT_FALSE(scratch_.Has("addresses.json"));
}

}  // namespace
}  // namespace tightfit
