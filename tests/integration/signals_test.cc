// What signals do to a server, and what a stop of its process does not do.
#include "server/app/serve.h"
#include "tests/integration/served_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <thread>

namespace tightfit {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

const std::vector<int> kIgnored = {SIGUSR1,  SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF,
                                   SIGIO,    SIGPIPE, SIGXFSZ, SIGTTIN,   SIGTTOU,
                                   SIGWINCH, SIGCONT, SIGURG,  SIGCHLD,   SIGSTKFLT};

class SignalsTest : public ServedFixture {
 protected:
  // A line of the process's status: "SigIgn", "SigCgt".
  bool HasSignal(pid_t process, const std::string& line, int number) const {
    std::ifstream status("/proc/" + std::to_string(process) + "/status");
    for (std::string text; std::getline(status, text);) {
      if (!text.starts_with(line + ":")) continue;
      return (std::stoull(text.substr(line.size() + 1), nullptr, 16) >> (number - 1) & 1) != 0;
    }
    return false;
  }

  // On a Unix socket.
  std::unique_ptr<ChildProcess> StartOnSocket() {
    return ChildProcess::Start(
        {TIGHTFIT_FAKE_SERVER, "--listen=unix:" + scratch_.Path("socket"), "--metrics-listen=none",
         "--address-file=" + scratch_.Path("addresses.json"),
         "--model=one=" + scratch_.MakeModel("one")},
        {});
  }

  void StopAndGoOn(std::chrono::milliseconds stop) {
    server_->process().Signal(SIGSTOP);
    std::this_thread::sleep_for(stop);
    server_->process().Signal(SIGCONT);
  }
};

TEST_F(SignalsTest, ThoseThatMeanNothingToAServerDoNothing) {
  StartAndWaitUntilReady();
  for (const int number : kIgnored) server_->process().Signal(number);
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) server_->process().Signal(number);
  StreamingRequest request(channel_, Parameters(2));
  EXPECT_TRUE(request.Finish().ok());
  EXPECT_TRUE(scratch_.Has("addresses.json"));
  Terminate();
  EXPECT_EQ(ExitCode(), kExitDrained) << Log();
}

TEST_F(SignalsTest, ThoseThatStopItLeaveNothingBehind) {
  for (const int number : {SIGTERM, SIGINT, SIGQUIT, SIGPWR, SIGXCPU}) {
    const auto server = StartOnSocket();
    ASSERT_TRUE(WaitUntil([this] { return scratch_.Has("addresses.json"); }));
    EXPECT_TRUE(scratch_.Has("socket"));
    server->Signal(number);
    EXPECT_EQ(server->WaitForExit(seconds(20)), kExitDrained) << number;
    EXPECT_FALSE(scratch_.Has("addresses.json")) << number;
    EXPECT_FALSE(scratch_.Has("socket")) << number;
  }
}

TEST_F(SignalsTest, RunningRequestsFinishAtAnyOfThem) {
  for (const int number : {SIGQUIT, SIGPWR}) {
    scratch_.Write("hold", "");
    StartAndWaitUntilReady({}, {{"FAKE_STEP_HOLD", scratch_.Path("hold")}});
    StreamingRequest running(channel_, Parameters(4));
    ASSERT_TRUE(running.WaitForStarted());
    server_->process().Signal(number);
    ASSERT_TRUE(WaitForHealth("", "NOT_SERVING"));
    scratch_.Remove("hold");
    EXPECT_TRUE(running.Finish().ok()) << number;
    EXPECT_EQ(ExitCode(), kExitDrained) << Log();
  }
}

TEST_F(SignalsTest, CountFromBeforeMainOn) {
  for (const int number : {SIGTERM, SIGHUP}) {
    const auto server = StartOnSocket();
    // As soon as the program has decided what signals do.
    ASSERT_TRUE(WaitUntil([&] { return HasSignal(server->pid(), "SigCgt", SIGHUP); }));
    for (const int ignored : kIgnored) server->Signal(ignored);
    server->Signal(number);
    if (number == SIGHUP) {
      EXPECT_TRUE(WaitUntil([this] { return scratch_.Has("addresses.json"); }));
      server->Signal(SIGTERM);
    }
    EXPECT_EQ(server->WaitForExit(seconds(20)), kExitDrained) << number;
    EXPECT_FALSE(scratch_.Has("addresses.json"));
    EXPECT_FALSE(scratch_.Has("socket"));
  }
}

TEST_F(SignalsTest, AHangUpThatIsIgnoredStaysSo) {
  const auto server =
      ChildProcess::Start({"/bin/sh", "-c", "trap '' HUP; exec \"$0\" \"$@\"", TIGHTFIT_FAKE_SERVER,
                           "--listen=unix:" + scratch_.Path("socket"), "--metrics-listen=none",
                           "--address-file=" + scratch_.Path("addresses.json"),
                           "--model=one=" + scratch_.MakeModel("one")},
                          {});
  ASSERT_TRUE(WaitUntil([this] { return scratch_.Has("addresses.json"); }));
  EXPECT_TRUE(HasSignal(server->pid(), "SigIgn", SIGHUP));
  server->Signal(SIGTERM);
  EXPECT_EQ(server->WaitForExit(seconds(20)), kExitDrained);
}

TEST_F(SignalsTest, AStopUsesUpNothingOfTheDrainLimit) {
  scratch_.Write("hold", "");
  StartAndWaitUntilReady({"--drain-timeout-seconds=3"},
                         {{"FAKE_STEP_HOLD", scratch_.Path("hold")}});
  StreamingRequest running(channel_, Parameters(4));
  ASSERT_TRUE(running.WaitForStarted());
  Terminate();
  ASSERT_TRUE(WaitForHealth("", "NOT_SERVING"));
  StopAndGoOn(seconds(5));
  scratch_.Remove("hold");
  EXPECT_TRUE(running.Finish().ok());
  EXPECT_EQ(ExitCode(), kExitDrained) << Log();
}

TEST_F(SignalsTest, DescriptorsThatWereClosedAreNoPipesOfTheServer) {
  const auto server =
      ChildProcess::Start({"/bin/sh", "-c", "exec \"$0\" \"$@\" <&- >&- 2>&-", TIGHTFIT_FAKE_SERVER,
                           "--listen=unix:" + scratch_.Path("socket"), "--metrics-listen=none",
                           "--address-file=" + scratch_.Path("addresses.json"),
                           "--model=one=" + scratch_.MakeModel("one")},
                          {});
  ASSERT_TRUE(WaitUntil([this] { return scratch_.Has("addresses.json"); }));
  for (const char* descriptor : {"0", "1", "2"}) {
    const std::string link = "/proc/" + std::to_string(server->pid()) + "/fd/" + descriptor;
    EXPECT_EQ(std::filesystem::read_symlink(link), "/dev/null");
  }
  server->Signal(SIGTERM);
  EXPECT_EQ(server->WaitForExit(seconds(20)), kExitDrained);
}

TEST_F(SignalsTest, AnOutputThatCannotBeWrittenIsAnError) {
  for (const char* asked : {"--help", "--version", "--check"}) {
    for (const char* closed : {">&-", ">/dev/full"}) {
      const ChildOutcome outcome =
          RunChild({"/bin/sh", "-c", std::string("exec \"$0\" \"$@\" ") + closed,
                    TIGHTFIT_FAKE_SERVER, asked, "--model=one=" + scratch_.MakeModel("one")});
      EXPECT_EQ(outcome.code, kExitInternal) << asked << closed;
      EXPECT_THAT(outcome.standard_error, HasSubstr("cannot write to stdout: "));
    }
  }
}

}  // namespace
}  // namespace tightfit
