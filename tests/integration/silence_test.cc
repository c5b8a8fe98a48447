// Who says nothing for too long, a stranger or the server itself, and who only seems to: seconds of
// waiting, beside other tests.
#include "server/app/serve.h"
#include "tests/integration/raw_sockets.h"
#include "tests/integration/secure_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

class SilenceTest : public SecureFixture {};

TEST_F(SilenceTest, ClosesWhatNeverSpeaksAfterTheHandshakesDeadline) {
  Start();
  const std::string plain = server_->listen();
  ScratchDirectory other;
  std::vector<std::string> flags = TlsFlags(authority_.Issue());
  flags.push_back("--model=one=" + other.MakeModel("one"));
  const auto tls_server = ServerProcess::Start(TIGHTFIT_FAKE_SERVER, other, flags);
  ASSERT_TRUE(tls_server->WaitForAddresses());
  const auto start = steady_clock::now();
  std::vector<FileDescriptor> sockets;
  sockets.push_back(ConnectFrom("127.0.0.1", plain));
  sockets.push_back(ConnectFrom("127.0.0.1", plain, "PRI * HTTP/2.0\r\n"));
  sockets.push_back(ConnectFrom("127.0.0.1", tls_server->listen()));
  sockets.push_back(ConnectFrom("127.0.0.1", tls_server->listen(), kHalfClientHello));
  for (size_t i = 0; i < sockets.size(); ++i) {
    EXPECT_TRUE(WaitForClose(sockets[i], seconds(30))) << i;
  }
  EXPECT_GT(steady_clock::now() - start, seconds(5)) << "a slow client has time";
}

// The own calls would end the process within seconds if one of these kept them from an answer.
TEST_F(SilenceTest, TheServerReachesItselfWithMutualTlsAndWithoutAFreePlace) {
  const std::string client_ca = ClientCaFlag();
  std::vector<std::string> flags = TlsFlags(authority_.Issue());
  flags.insert(flags.end(), {client_ca, "--self-check-seconds=5", "--max-connections=8"});
  Start(flags);
  std::vector<FileDescriptor> strangers;
  const auto until = steady_clock::now() + seconds(9);
  while (steady_clock::now() < until) {
    strangers.push_back(ConnectFrom("127.0.0.1", server_->listen(), kHalfClientHello));
    strangers.push_back(ConnectFrom("127.0.0.2", server_->listen()));
    std::this_thread::sleep_for(milliseconds(50));
    ASSERT_FALSE(server_->process().has_exited()) << Log();
  }
}

TEST_F(SilenceTest, AServerThatDoesNotAnswerItselfEndsWith71) {
  const std::string silent = scratch_.Path("silent");
  StartAndWaitUntilReady({"--self-check-seconds=3"}, {{"FAKE_SILENT_PORT", silent}});
  std::this_thread::sleep_for(seconds(5));
  ASSERT_FALSE(server_->process().has_exited()) << "it answers";
  scratch_.Write("silent", "");
  EXPECT_EQ(ExitCode(), kExitDevice) << Log();
  EXPECT_THAT(Log(), HasSubstr("the own port does not answer"));
  EXPECT_THAT(Log(), HasSubstr("nothing came"));
  EXPECT_FALSE(scratch_.Has("addresses.json"));
}

TEST_F(SilenceTest, TheOwnCallsCanBeSwitchedOff) {
  scratch_.Write("silent", "");
  StartAndWaitUntilReady({"--self-check-seconds=0"},
                         {{"FAKE_SILENT_PORT", scratch_.Path("silent")}});
  std::this_thread::sleep_for(seconds(2));
  EXPECT_FALSE(server_->process().has_exited());
}

// Stopped processes (a debugger, a container that is frozen) go on when they may.
TEST_F(SilenceTest, AProcessThatWasStoppedDoesNotTakeThatForSilence) {
  StartAndWaitUntilReady({"--self-check-seconds=4"});
  server_->process().Signal(SIGSTOP);
  std::this_thread::sleep_for(seconds(6));
  server_->process().Signal(SIGCONT);
  std::this_thread::sleep_for(seconds(5));
  EXPECT_FALSE(server_->process().has_exited()) << Log();
  EXPECT_EQ(health_->Check(""), "SERVING");
}

}  // namespace
}  // namespace tightfit
