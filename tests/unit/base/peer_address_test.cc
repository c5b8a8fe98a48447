#include "server/base/peer_address.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/un.h>

namespace tightfit {
namespace {

PeerAddress Of4(const char* address, uint16_t port) {
  sockaddr_storage storage = {};
  auto& ip = reinterpret_cast<sockaddr_in&>(storage);
  ip.sin_family = AF_INET;
  ip.sin_port = htons(port);
  inet_pton(AF_INET, address, &ip.sin_addr);
  return PeerAddressOf(storage, sizeof(ip));
}

PeerAddress Of6(const char* address, uint16_t port) {
  sockaddr_storage storage = {};
  auto& ip = reinterpret_cast<sockaddr_in6&>(storage);
  ip.sin6_family = AF_INET6;
  ip.sin6_port = htons(port);
  inet_pton(AF_INET6, address, &ip.sin6_addr);
  return PeerAddressOf(storage, sizeof(ip));
}

TEST(PeerAddressTest, TellsHostsAndSocketsApart) {
  EXPECT_EQ(Of4("10.0.0.1", 1).host, Of4("10.0.0.1", 2).host);
  EXPECT_NE(Of4("10.0.0.1", 1).socket, Of4("10.0.0.1", 2).socket);
  EXPECT_NE(Of4("10.0.0.1", 1).host, Of4("10.0.0.2", 1).host);
  EXPECT_EQ(Of4("10.0.0.1", 1).socket, Of4("10.0.0.1", 1).socket);
}

TEST(PeerAddressTest, AHostHasItsWholeIpv6Network) {
  EXPECT_EQ(Of6("2001:db8::1", 1).host, Of6("2001:db8::ffff:1:2:3", 1).host);
  EXPECT_NE(Of6("2001:db8::1", 1).socket, Of6("2001:db8::2", 1).socket);
  EXPECT_NE(Of6("2001:db8::1", 1).host, Of6("2001:db8:0:1::1", 1).host);
}

TEST(PeerAddressTest, Ipv4IsTheSameOverIpv6) {
  EXPECT_EQ(Of6("::ffff:10.0.0.1", 7).host, Of4("10.0.0.1", 7).host);
  EXPECT_EQ(Of6("::ffff:10.0.0.1", 7).socket, Of4("10.0.0.1", 7).socket);
}

TEST(PeerAddressTest, AUnixSocketHasNoHost) {
  sockaddr_storage storage = {};
  storage.ss_family = AF_UNIX;
  EXPECT_EQ(PeerAddressOf(storage, sizeof(sa_family_t)).host, "");
}

}  // namespace
}  // namespace tightfit
