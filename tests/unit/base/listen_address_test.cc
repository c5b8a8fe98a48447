#include "server/base/listen_address.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

TEST(ListenAddressTest, TakesHostAndPortApart) {
  const Result<ListenAddress> address = ParseListenAddress("127.0.0.1:50051");
  ASSERT_TRUE(address.ok());
  EXPECT_EQ(address->host, "127.0.0.1");
  EXPECT_EQ(address->port, 50051);
}

TEST(ListenAddressTest, WritesBackWhatItRead) {
  for (const char* text : {"127.0.0.1:0", "[::1]:65535", "[::]:80", "unix:/run/tightfit.sock",
                           "localhost:9400", "gpu-1.example.org:50051", "0.0.0.0:1"}) {
    const Result<ListenAddress> address = ParseListenAddress(text);
    ASSERT_TRUE(address.ok()) << text << ": " << address.status().message();
    EXPECT_EQ(address->ToString(), text);
  }
}

TEST(ListenAddressTest, RefusesWhatIsNoAddress) {
  for (const char* text : {"",
                           ":",
                           "127.0.0.1",
                           "127.0.0.1:",
                           ":50051",
                           "127.0.0.1:65536",
                           "127.0.0.1:-1",
                           "127.0.0.1:80a",
                           "127.0.0.1: 80",
                           "300.0.0.1:80",
                           "1.2.3:80",
                           "::1:80",
                           "[::1]",
                           "[]:80",
                           "[127.0.0.1]:80",
                           "host name:80",
                           "-host:80",
                           "http://localhost:80",
                           "unix:",
                           "127.0.0.1:99999999999999999999"}) {
    const Result<ListenAddress> address = ParseListenAddress(text);
    ASSERT_FALSE(address.ok()) << text;
    EXPECT_NE(address.status().message().find('"' + std::string(text) + '"'), std::string::npos)
        << address.status().message();
  }
}

TEST(ListenAddressTest, RefusesAPathThatNoSocketCanHave) {
  EXPECT_TRUE(ParseListenAddress("unix:/" + std::string(106, 'x')).ok());
  EXPECT_FALSE(ParseListenAddress("unix:/" + std::string(107, 'x')).ok());
}

TEST(ListenAddressTest, KnowsWhichAddressesStayOnTheMachine) {
  for (const char* text : {"127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "localhost:1", "unix:/x"}) {
    EXPECT_TRUE(ParseListenAddress(text)->is_local()) << text;
  }
  for (const char* text : {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "127.example.org:1", "[::2]:1"}) {
    EXPECT_FALSE(ParseListenAddress(text)->is_local()) << text;
  }
}

}  // namespace
}  // namespace tightfit
