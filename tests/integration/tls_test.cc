// Who can talk to a server with TLS, and what both sides say where they do not agree.
#include "server/app/serve.h"
#include "tests/integration/secure_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using testing::HasSubstr;
using testing::Not;

class TlsTest : public SecureFixture {
 protected:
  // For failures that are told at the end of the connect timeout: they may look the same while a
  // server starts.
  static constexpr std::chrono::seconds kLikelyTimeout{4};

  // Expects the connection to fail for a reason that the user is told.
  static void ExpectTlsFailure(const client::ClientOptions& options, const std::string& why) {
    const Status status = Ask(options);
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
    EXPECT_EQ(status.reason(), client::kTlsFailed) << status.ForLog();
    EXPECT_THAT(status.message(), HasSubstr(options.server));
    EXPECT_THAT(status.message(), HasSubstr(why));
  }
};

TEST_F(TlsTest, ServesWhoeverTrustsItsAuthority) {
  Start(TlsFlags(authority_.Issue()));
  client::ClientOptions options = Options();
  options.tls = Trusting(authority_);
  client::GenerationClient client(options);
  const Result<client::ServerInfo> info = client.GetServerInfo();
  EXPECT_TRUE(info.ok()) << info.status().ForLog();
  ASSERT_TRUE(WaitUntil([&] {
    const Result<client::Model> model = client.GetModel("one");
    return model.ok() && model->state == client::ModelState::kResident;
  }));
  int images = 0;
  const Status drawn = client.StreamImages(
      {.prompt = "red apple"},
      [&](const client::Event& event) { images += std::holds_alternative<client::Image>(event); });
  EXPECT_TRUE(drawn.ok()) << drawn.ForLog();
  EXPECT_EQ(images, 1);
  EXPECT_THAT(Log(), HasSubstr("transport=tls client_certificates=false tokens=false"));
}

TEST_F(TlsTest, IsNotBelievedByWhoeverTrustsAnotherAuthority) {
  Start(TlsFlags(authority_.Issue()));
  client::ClientOptions options = Options();
  options.tls = Trusting(foreign_authority_);
  ExpectTlsFailure(options, "none of the given roots vouches for");
  options.tls = client::TlsOptions();  // the system's roots
  ExpectTlsFailure(options, "none of the given roots vouches for");
}

TEST_F(TlsTest, IsNotBelievedWithAnExpiredCertificateAndSaysSoAtTheStart) {
  using std::chrono::hours;
  Start(TlsFlags(authority_.Issue({.valid_from = hours(-48), .valid_until = hours(-24)})));
  client::ClientOptions options = Options();
  options.tls = Trusting(authority_);
  ExpectTlsFailure(options, "not valid now");
  EXPECT_THAT(Log(), HasSubstr("warning " + scratch_.Path("cert.pem") +
                               ": has a certificate that is expired"));
}

TEST_F(TlsTest, TellsAClientInPlainTextThatThereIsTls) {
  Start(TlsFlags(authority_.Issue()));
  client::ClientOptions options = Options();
  options.connect_timeout = kLikelyTimeout;
  ExpectTlsFailure(options, "connect with TLS");
}

TEST_F(TlsTest, APlainTextServerIsNamedToAClientWithTls) {
  Start();
  client::ClientOptions options = Options();
  options.tls = Trusting(authority_);
  ExpectTlsFailure(options, "does not speak TLS");
  EXPECT_TRUE(Ask(Options()).ok());
}

TEST_F(TlsTest, AsksForAClientCertificateOfItsAuthority) {
  std::vector<std::string> flags = TlsFlags(authority_.Issue());
  flags.push_back(ClientCaFlag());
  Start(flags);
  client::ClientOptions options = Options();
  options.connect_timeout = kLikelyTimeout;
  options.tls = Trusting(authority_);
  ExpectTlsFailure(options, "asks for a client certificate");

  const TestCertificate foreign = foreign_authority_.Issue();
  options.tls->certificate_chain = foreign.certificate;
  options.tls->private_key = foreign.private_key;
  ExpectTlsFailure(options, "the client certificate does not convince");

  const TestCertificate own = authority_.Issue({.common_name = "a client"});
  options.tls->certificate_chain = own.certificate;
  options.tls->private_key = own.private_key;
  const Status status = Ask(options);
  EXPECT_TRUE(status.ok()) << status.ForLog();
  EXPECT_THAT(Log(), HasSubstr("transport=tls client_certificates=true"));
}

TEST_F(TlsTest, ListensBeyondThisMachineWithoutAWarning) {
  std::vector<std::string> flags = TlsFlags(authority_.Issue());
  flags.push_back("--listen=0.0.0.0:0");
  std::vector<std::string> arguments = {TIGHTFIT_FAKE_SERVER, "--metrics-listen=none",
                                        "--address-file=" + scratch_.Path("open.json"),
                                        "--model=one=" + scratch_.MakeModel("one")};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  const std::unique_ptr<ChildProcess> open = ChildProcess::Start(arguments, {});
  ASSERT_TRUE(WaitUntil([&] { return scratch_.Has("open.json"); })) << open->standard_error();
  open->Signal(SIGTERM);
  EXPECT_EQ(open->WaitForExit(std::chrono::seconds(10)), kExitDrained);
  EXPECT_THAT(open->standard_error(), HasSubstr("listening listen=0.0.0.0:"));
  EXPECT_THAT(open->standard_error(), Not(HasSubstr("plain text")));
}

}  // namespace
}  // namespace tightfit
