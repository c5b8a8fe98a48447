#include "client/cpp/channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tightfit::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ChannelTest, TellsThisMachineFromOthers) {
  for (const char* server : {"127.0.0.1:1", "127.8.9.1:1", "localhost:1", "[::1]:1", "unix:/x",
                             "unix-abstract:x", "dns:///localhost:1", "ipv4:127.0.0.1:1"}) {
    EXPECT_TRUE(IsThisMachine(server)) << server;
  }
  for (const char* server :
       {"localhost.example.org:1", "127.0.0.1.example.org:1", "[::2]:1", "10.0.0.1:1", "0.0.0.0:1",
        "127.example.org:1", "example.org:1", "dns:///example.org:1", "unix.example.org:1", "",
        "ipv6:[::1]:1,[2001:db8::5]:1", "ipv4:127.0.0.1:1,192.0.2.1:1", "[::1]x:1", "[::1"}) {
    EXPECT_FALSE(IsThisMachine(server)) << server;
  }
}

TEST(ChannelTest, SendsATokenWhereOthersCannotReadIt) {
  ClientOptions options{.server = "example.org:1", .token = "tightfit_secret"};
  const Status refused = CheckCredentials(options);
  EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.reason(), kBadCredentials);
  EXPECT_THAT(refused.ForLog(), Not(HasSubstr("secret")));

  options.allow_plaintext_token = true;
  EXPECT_TRUE(CheckCredentials(options).ok());
  options.allow_plaintext_token = false;
  options.tls = TlsOptions();
  EXPECT_TRUE(CheckCredentials(options).ok());
  options.tls.reset();
  options.server = "127.0.0.1:1";
  EXPECT_TRUE(CheckCredentials(options).ok());
}

TEST(ChannelTest, RefusesATokenThatNoHeaderCarries) {
  for (const std::string& token :
       {std::string("two words"), std::string("line\n"), std::string("\0", 1),
        std::string("\xc3\xa4"), std::string(4097, 'x')}) {
    EXPECT_EQ(CheckCredentials({.token = token}).reason(), kBadCredentials);
  }
  EXPECT_TRUE(CheckCredentials({.token = "aZ09-._~+/=="}).ok());
  EXPECT_TRUE(CheckCredentials({.token = std::string(4096, 'x')}).ok());
}

TEST(ChannelTest, RefusesHalfAClientCertificate) {
  EXPECT_EQ(CheckCredentials({.tls = TlsOptions{.certificate_chain = "x"}}).reason(),
            kBadCredentials);
  EXPECT_EQ(CheckCredentials({.tls = TlsOptions{.private_key = "x"}}).reason(), kBadCredentials);
}

TEST(ChannelTest, BlamesEncryptionForNothingElse) {
  for (const bool with_tls : {false, true}) {
    ClientOptions options;
    if (with_tls) options.tls = TlsOptions();
    for (const char* message :
         {"", "Deadline Exceeded",
          "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7999: Failed to "
          "connect to remote host: Connection refused",
          "DNS resolution failed for example.org:1: Domain name not found"}) {
      EXPECT_TRUE(ExplainTlsFailure(message, options).status.ok()) << message;
    }
  }
}

TEST(ChannelTest, TellsWhyThereIsNoConnection) {
  ClientOptions options;
  options.server = "example.org:1";
  const auto explain = [&options](const char* message) {
    return ExplainConnectFailure(message, options);
  };
  const ConnectFailure refused = explain(
      "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to "
      "connect to remote host: Connection refused");
  EXPECT_TRUE(refused.is_absence && !refused.is_certain);
  EXPECT_EQ(refused.status.reason(), kCannotConnect);
  const ConnectFailure web = explain(
      "last error: INTERNAL: Failed parsing HTTP/2 (Expected SETTINGS frame as the first frame, "
      "got "
      "frame type 80) (Trying to connect an http1.x server (HTTP status 400))");
  EXPECT_TRUE(web.is_certain && !web.is_absence);
  EXPECT_EQ(web.status.reason(), kNotGrpc);
  const ConnectFailure name =
      explain("DNS resolution failed for example.org:1: Domain name not found");
  EXPECT_FALSE(name.is_certain || name.is_absence) << "it may resolve in a moment";
  EXPECT_EQ(name.status.reason(), kCannotConnect);
  EXPECT_TRUE(explain("Deadline Exceeded").status.ok());
  options.tls = TlsOptions();
  EXPECT_EQ(explain("SSL_ERROR_SSL: WRONG_VERSION_NUMBER").status.reason(), kTlsFailed);
}

}  // namespace
}  // namespace tightfit::client
