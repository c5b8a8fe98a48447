#include "server/base/connection_source.h"

#include "server/base/listening_sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>

#include <vector>

namespace tightfit {
namespace {

using Outcome = ConnectionSource::Outcome;

FileDescriptor Connect(uint16_t port) {
  FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  return socket;
}

class ConnectionSourceTest : public testing::Test {
 protected:
  ConnectionSourceTest() : sockets_(*ListenOnHost("127.0.0.1", 0, AnyAddress::kIpv4Only)) {}

  Outcome Accept() { return source_.Accept(sockets_.sockets[0].get(), &connection_, &peer_); }

  ListeningSockets sockets_;
  ConnectionSource source_;
  FileDescriptor connection_;
  PeerAddress peer_;
};

TEST_F(ConnectionSourceTest, GivesConnectionsAsGrpcWantsThem) {
  EXPECT_EQ(Accept(), Outcome::kNothing);
  const FileDescriptor client = Connect(sockets_.port);
  ASSERT_EQ(Accept(), Outcome::kAccepted);
  EXPECT_NE(::fcntl(connection_.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(connection_.get(), F_GETFD) & FD_CLOEXEC, 0);
  int no_delay = 0;
  socklen_t size = sizeof(no_delay);
  ::getsockopt(connection_.get(), IPPROTO_TCP, TCP_NODELAY, &no_delay, &size);
  EXPECT_EQ(no_delay, 1);
  EXPECT_EQ(peer_.host, std::string("\x7f\0\0\1", 4));
  EXPECT_EQ(Accept(), Outcome::kNothing);
}

TEST_F(ConnectionSourceTest, ClosesWhatItHasNoDescriptorForAndGoesOnLater) {
  std::vector<FileDescriptor> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(Connect(sockets_.port));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  std::vector<FileDescriptor> all;
  const rlimit low{256, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  for (int fd = 0; fd >= 0;) {
    fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) all.emplace_back(fd);
  }
  const Outcome first = Accept();
  const Outcome second = Accept();
  all.clear();
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(first, Outcome::kRefused);
  EXPECT_EQ(second, Outcome::kRefused) << "the spare descriptor came back";
  pollfd refused = {clients[0].get(), POLLIN, 0};
  EXPECT_EQ(::poll(&refused, 1, 10'000), 1) << "it is told at once";
  EXPECT_EQ(Accept(), Outcome::kAccepted) << "the third one is served";
}

}  // namespace
}  // namespace tightfit
