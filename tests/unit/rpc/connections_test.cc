// The places that a server has for connections, and its calls of its own port.
#include "tests/unit/rpc/rpc_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tightfit {
namespace {

using std::chrono::seconds;

class ConnectionsTest : public RpcFixture {
 protected:
  static bool SoonTrue(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + seconds(10);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  FileDescriptor Silent() const {
    const std::string address = server_->address();
    FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    return socket;
  }

  static bool IsClosed(const FileDescriptor& socket) {
    pollfd polled = {socket.get(), POLLRDHUP, 0};
    ::poll(&polled, 1, 0);
    return (polled.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  }
};

TEST_F(ConnectionsTest, ClosesAtOnceWhatIsBeyondTheLimitAndServesAgainLater) {
  limits_.max_connections = 4;
  limits_.max_connections_per_address = 4;
  StartServer();
  ASSERT_TRUE(Stream(Request()).status.ok());
  std::vector<FileDescriptor> silent;
  for (int i = 0; i < 6; ++i) silent.push_back(Silent());
  EXPECT_TRUE(
      SoonTrue([&] { return std::ranges::count_if(silent, &ConnectionsTest::IsClosed) == 3; }));
  EXPECT_TRUE(Stream(Request()).status.ok()) << "who has a place keeps it";
  EXPECT_TRUE(SoonTrue([&] {
    return recorder_.connections().open == 4 && recorder_.connections().refused_for_limit == 3;
  }));
  silent.clear();
  auto stub = v1::ImageGenerationService::NewStub(Connect());
  grpc::ClientContext context;
  EXPECT_TRUE(ReadToEnd(*stub->StreamImages(&context, Request())).status.ok());
}

TEST_F(ConnectionsTest, CallsItsOwnPortWhateverTheLimits) {
  limits_.max_connections = 1;
  limits_.max_connections_per_address = 1;
  StartServer();
  ASSERT_TRUE(Stream(Request()).status.ok());
  for (int i = 0; i < 20; ++i) {
    const Status status = server_->AskOwnPort(seconds(10));
    EXPECT_TRUE(status.ok()) << status.ForLog();
  }
  EXPECT_EQ(recorder_.connections().refused(), 0);
}

TEST_F(ConnectionsTest, CallsItsOwnUnixSocket) {
  listen_ = "unix:" + ::testing::TempDir() + "tightfit_own_" + std::to_string(::getpid());
  StartServer();
  const Status status = server_->AskOwnPort(seconds(10));
  EXPECT_TRUE(status.ok()) << status.ForLog();
}

TEST_F(ConnectionsTest, CallsItselfOnEveryAddressAndByName) {
  for (const char* listen : {"0.0.0.0:0", "localhost:0", "[::]:0"}) {
    listen_ = listen;
    StartServer();
    const Status status = server_->AskOwnPort(seconds(10));
    EXPECT_TRUE(status.ok()) << listen << ": " << status.ForLog();
    StopServer();
  }
}

TEST_F(ConnectionsTest, ItsOwnPortDoesNotAnswerOnceItIsShutDown) {
  StartServer();
  server_->Shutdown(std::chrono::milliseconds(0));
  EXPECT_FALSE(server_->AskOwnPort(seconds(2)).ok());
}

}  // namespace
}  // namespace tightfit
