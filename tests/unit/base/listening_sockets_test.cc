#include "server/base/listening_sockets.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tightfit {
namespace {

using testing::HasSubstr;

bool CanConnect(int family, const char* address, uint16_t port) {
  const FileDescriptor socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (family == AF_INET) {
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    inet_pton(AF_INET, address, &to.sin_addr);
    return ::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
  }
  sockaddr_in6 to = {};
  to.sin6_family = AF_INET6;
  to.sin6_port = htons(port);
  inet_pton(AF_INET6, address, &to.sin6_addr);
  return ::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
}

TEST(ListeningSocketsTest, ListensOnAPortThatItTells) {
  const Result<ListeningSockets> sockets = ListenOnHost("127.0.0.1", 0, AnyAddress::kIpv4Only);
  ASSERT_TRUE(sockets.ok());
  EXPECT_NE(sockets->port, 0);
  EXPECT_TRUE(CanConnect(AF_INET, "127.0.0.1", sockets->port));
  EXPECT_FALSE(CanConnect(AF_INET, "127.0.0.2", sockets->port)) << "no other address";
}

TEST(ListeningSocketsTest, ANameStandsForAllOfItsAddressesWithOnePort) {
  const Result<ListeningSockets> sockets = ListenOnHost("localhost", 0, AnyAddress::kIpv4Only);
  ASSERT_TRUE(sockets.ok()) << sockets.status().message();
  EXPECT_TRUE(CanConnect(AF_INET, "127.0.0.1", sockets->port));
}

TEST(ListeningSocketsTest, EveryAddressMayMeanBothFamilies) {
  const Result<ListeningSockets> both = ListenOnHost("0.0.0.0", 0, AnyAddress::kBothFamilies);
  ASSERT_TRUE(both.ok());
  EXPECT_TRUE(CanConnect(AF_INET, "127.0.0.1", both->port));
  const Result<ListeningSockets> probe = ListenOnHost("::1", 0, AnyAddress::kIpv4Only);
  if (!probe.ok()) GTEST_SKIP() << "this machine has no IPv6";
  EXPECT_TRUE(CanConnect(AF_INET6, "::1", both->port));
  EXPECT_FALSE(CanConnect(AF_INET, "127.0.0.1", probe->port));
}

TEST(ListeningSocketsTest, SharesNoPort) {
  const Result<ListeningSockets> first = ListenOnHost("127.0.0.1", 0, AnyAddress::kIpv4Only);
  ASSERT_TRUE(first.ok());
  for (const char* host : {"127.0.0.1", "localhost", "0.0.0.0"}) {
    const Status status = ListenOnHost(host, first->port, AnyAddress::kBothFamilies).status();
    EXPECT_EQ(status.reason(), "ADDRESS_UNUSABLE") << host;
    EXPECT_THAT(status.message(), HasSubstr("Address already in use")) << host;
  }
}

TEST(ListeningSocketsTest, SaysWhatIsWrongWithAHost) {
  EXPECT_THAT(ListenOnHost("192.0.2.1", 0, AnyAddress::kIpv4Only).status().message(),
              HasSubstr("Cannot assign requested address"));
  EXPECT_EQ(ListenOnHost("no-such-host.invalid", 0, AnyAddress::kIpv4Only).status().reason(),
            "ADDRESS_UNUSABLE");
}

TEST(ListeningSocketsTest, TakesThePlaceOfASocketThatWasLeftBehindAndOfNothingElse) {
  const std::string path = testing::TempDir() + "tightfit_listening_" + std::to_string(::getpid());
  {
    Result<ListeningSockets> left = ListenOnPath(path);
    ASSERT_TRUE(left.ok());
    left->sockets.clear();  // as a process that was killed
  }
  Result<ListeningSockets> next = ListenOnPath(path);
  ASSERT_TRUE(next.ok()) << next.status().message();
  next->Close();
  EXPECT_FALSE(std::filesystem::exists(path));
  std::ofstream(path) << "a file";
  EXPECT_FALSE(ListenOnPath(path).ok());
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace tightfit
