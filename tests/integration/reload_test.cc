// Certificates, client CAs and tokens are read again at SIGHUP and when their files change, and
// what cannot be used changes nothing.
#include "tests/integration/secure_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <filesystem>
#include <thread>

namespace tightfit {
namespace {

using testing::HasSubstr;
using testing::Not;

class ReloadTest : public SecureFixture {
 protected:
  void Hangup() { server_->process().Signal(SIGHUP); }

  // In one step, as certbot and Kubernetes do.
  void Exchange(const std::string& name, const std::string& text) const {
    const std::string made = WritePrivate(name + ".new", text);
    std::filesystem::rename(made, scratch_.Path(name));
  }
  void Exchange(const TestCertificate& certificate) const {
    Exchange("cert.pem", certificate.certificate);
    Exchange("key.pem", certificate.private_key);
  }

  // What a new connection of whoever trusts `authority` comes to.
  bool IsTrustedBy(const TestAuthority& authority) const {
    client::ClientOptions options = Options();
    options.tls = Trusting(authority);
    options.connect_timeout = std::chrono::seconds(2);
    return Ask(options).ok();
  }
  bool IsAdmitted(const NewToken& token) const {
    client::ClientOptions options = Options();
    options.token = token.token;
    return Ask(options).ok();
  }

  double Reloads(const std::string& what, const std::string& result) const {
    const auto response = httplib::Client("http://" + server_->metrics_listen()).Get("/metrics");
    if (!response) return -1;
    const std::string series =
        "\ntightfit_credential_reloads_total{result=\"" + result + "\",what=\"" + what + "\"} ";
    const size_t at = response->body.find(series);
    return at == std::string::npos ? -1 : std::stod(response->body.substr(at + series.size()));
  }
};

TEST_F(ReloadTest, ANewCertificateCountsForNewConnectionsAndOldOnesGoOn) {
  Start(TlsFlags(authority_.Issue()));
  client::ClientOptions options = Options();
  options.tls = Trusting(authority_);
  client::GenerationClient old(options);
  ASSERT_TRUE(old.GetServerInfo().ok());
  Exchange(foreign_authority_.Issue());
  EXPECT_TRUE(WaitUntil([&] { return IsTrustedBy(foreign_authority_); })) << Log();
  EXPECT_FALSE(IsTrustedBy(authority_));
  EXPECT_TRUE(old.GetServerInfo().ok()) << "its connection stands";
  EXPECT_EQ(Reloads("tls", "ok"), 1);
  EXPECT_EQ(Reloads("tls", "failed"), 0) << "two files that change one after the other";
  // The first ones again, at a signal.
  Exchange(authority_.Issue());
  Hangup();
  EXPECT_TRUE(WaitUntil([&] { return IsTrustedBy(authority_); }));
  EXPECT_FALSE(server_->process().has_exited());
}

TEST_F(ReloadTest, ACertificateAndAKeyThatChangeFarApartAreTakenOnceTheyFit) {
  Start(TlsFlags(authority_.Issue()));
  const TestCertificate next = foreign_authority_.Issue();
  Exchange("cert.pem", next.certificate);
  EXPECT_TRUE(WaitUntil([&] { return Reloads("tls", "failed") == 1; }));
  EXPECT_TRUE(IsTrustedBy(authority_)) << "the old one stays in force";
  EXPECT_THAT(Log(), HasSubstr("is not the key of the first certificate"));
  Exchange("key.pem", next.private_key);
  EXPECT_TRUE(WaitUntil([&] { return IsTrustedBy(foreign_authority_); })) << Log();
}

TEST_F(ReloadTest, WhatCannotBeUsedChangesNothing) {
  using std::chrono::hours;
  const TestCertificate good = authority_.Issue();
  Start(TlsFlags(good));
  const auto expired = authority_.Issue({.valid_from = hours(-48), .valid_until = hours(-24)});
  double failed = 0;
  for (const TestCertificate& bad :
       {TestCertificate{"no PEM", good.private_key}, TestCertificate{good.certificate, "no PEM"},
        TestCertificate{good.certificate, authority_.Issue().private_key}, expired}) {
    Exchange(bad);
    Hangup();
    EXPECT_TRUE(WaitUntil([&] { return Reloads("tls", "failed") > failed; }));
    failed = Reloads("tls", "failed");
    EXPECT_TRUE(IsTrustedBy(authority_));
  }
  std::filesystem::remove(scratch_.Path("cert.pem"));
  Hangup();
  EXPECT_TRUE(WaitUntil([&] { return Reloads("tls", "failed") > failed; }));
  EXPECT_TRUE(IsTrustedBy(authority_));
  EXPECT_THAT(Log(), HasSubstr("those from before stay"));
  EXPECT_THAT(Log(), Not(HasSubstr("PRIVATE")));
}

TEST_F(ReloadTest, ANewClientCaCountsForNewConnections) {
  std::vector<std::string> flags = TlsFlags(authority_.Issue());
  flags.push_back(ClientCaFlag());
  Start(flags);
  const auto is_admitted = [&](const TestCertificate& identity) {
    client::ClientOptions options = Options();
    options.tls = Trusting(authority_);
    options.tls->certificate_chain = identity.certificate;
    options.tls->private_key = identity.private_key;
    options.connect_timeout = std::chrono::seconds(2);
    return Ask(options).ok();
  };
  const TestCertificate before = authority_.Issue({.common_name = "a client"});
  const TestCertificate after = foreign_authority_.Issue({.common_name = "a client"});
  EXPECT_TRUE(is_admitted(before));
  EXPECT_FALSE(is_admitted(after));
  Exchange("client_ca.pem", foreign_authority_.certificate());
  Hangup();
  EXPECT_TRUE(WaitUntil([&] { return is_admitted(after); })) << Log();
  EXPECT_FALSE(is_admitted(before));
}

TEST_F(ReloadTest, NewTokensCountFromTheNextCallOn) {
  Start({TokensFlag()});
  client::ClientOptions options = Options();
  options.token = user_.token;
  client::GenerationClient user(options);
  ASSERT_TRUE(user.GetServerInfo().ok());
  const NewToken carol = *MakeToken(AccessRole::kUser, "carol");
  EXPECT_FALSE(IsAdmitted(carol));
  Exchange("tokens", admin_.line + "\n" + carol.line + "\n");
  EXPECT_TRUE(WaitUntil([&] { return IsAdmitted(carol); }));
  EXPECT_TRUE(IsAdmitted(admin_));
  EXPECT_EQ(user.GetServerInfo().status().code(), StatusCode::kUnauthenticated)
      << "also over a connection that stands";
  EXPECT_EQ(Reloads("tokens", "ok"), 1);

  for (const char* bad : {"", "user x\n", "nobody"}) {
    Exchange("tokens", bad);
    const double failed = Reloads("tokens", "failed");
    Hangup();
    EXPECT_TRUE(WaitUntil([&] { return Reloads("tokens", "failed") > failed; }));
    EXPECT_TRUE(IsAdmitted(carol));
  }
}

TEST_F(ReloadTest, SecretsOfKubernetesAreSeenToChange) {
  const auto write_version = [&](const std::string& version, const TestCertificate& certificate) {
    std::filesystem::create_directory(scratch_.Path(version));
    WritePrivate(version + "/tls.crt", certificate.certificate);
    WritePrivate(version + "/tls.key", certificate.private_key);
  };
  write_version("..v1", authority_.Issue());
  write_version("..v2", foreign_authority_.Issue());
  std::filesystem::create_directory_symlink("..v1", scratch_.Path("..data"));
  for (const char* file : {"tls.crt", "tls.key"}) {
    std::filesystem::create_symlink(std::string("..data/") + file, scratch_.Path(file));
  }
  Start({"--tls-certificate=" + scratch_.Path("tls.crt"),
         "--tls-private-key=" + scratch_.Path("tls.key")});
  EXPECT_TRUE(IsTrustedBy(authority_));
  std::filesystem::create_directory_symlink("..v2", scratch_.Path("..data_tmp"));
  std::filesystem::rename(scratch_.Path("..data_tmp"), scratch_.Path("..data"));
  EXPECT_TRUE(WaitUntil([&] { return IsTrustedBy(foreign_authority_); })) << Log();
}

TEST_F(ReloadTest, AHangupWithNothingToReadIsNothing) {
  StartAndWaitUntilReady();
  for (int i = 0; i < 5; ++i) Hangup();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_FALSE(server_->process().has_exited());
  EXPECT_EQ(health_->Check(""), "SERVING");
  Terminate();
  EXPECT_EQ(ExitCode(), 0);
}

}  // namespace
}  // namespace tightfit
