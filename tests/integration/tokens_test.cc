// Tokens from the command that makes them to the calls that they admit, and what the log keeps.
#include "server/app/serve.h"
#include "tests/integration/secure_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

namespace tightfit {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

std::string Contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class TokensTest : public SecureFixture {
 protected:
  static ChildOutcome Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), TIGHTFIT_FAKE_SERVER);
    return RunChild(arguments);
  }

  client::GenerationClient ClientWith(const std::string& token) const {
    client::ClientOptions options = Options();
    options.token = token;
    return client::GenerationClient(options);
  }
};

TEST_F(TokensTest, AdmitWhatTheirRolesMay) {
  StartAndWaitUntilReady({TokensFlag()});  // health is open to probes
  const Status missing = ClientWith("").GetServerInfo().status();
  EXPECT_EQ(missing.code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(missing.reason(), "INVALID_CREDENTIALS");
  EXPECT_EQ(ClientWith("tightfit_x").GetServerInfo().status().message(), missing.message());
  const httplib::Result metrics =
      httplib::Client("http://" + server_->metrics_listen()).Get("/metrics");
  ASSERT_TRUE(metrics);
  EXPECT_THAT(metrics->body, HasSubstr("tightfit_requests_total{code=\"UNAUTHENTICATED\","
                                       "method=\"GetServerInfo\",model=\"\"} 2"));

  client::GenerationClient user = ClientWith(user_.token);
  EXPECT_TRUE(user.GetServerInfo().ok());
  EXPECT_TRUE(user.ListModels().ok());
  EXPECT_TRUE(user.StreamImages({.prompt = "red apple"}, [](const client::Event&) {}).ok());
  const Status refused = user.UnloadModel("one", false).status();
  EXPECT_EQ(refused.code(), StatusCode::kPermissionDenied);
  EXPECT_EQ(refused.reason(), "ADMIN_ROLE_REQUIRED");
  EXPECT_TRUE(ClientWith(admin_.token).UnloadModel("one", false).ok());
}

TEST_F(TokensTest, AreInNoLineOfTheLogButTheirNamesAre) {
  std::vector<std::string> flags = TlsFlags(authority_.Issue());
  flags.insert(flags.end(), {TokensFlag(), "--log-level=debug", "--log-format=json"});
  Start(flags);
  client::ClientOptions options = Options();
  options.tls = Trusting(authority_);
  const std::string unknown = MakeToken(AccessRole::kUser, "x")->token;
  for (const std::string& token : {user_.token, admin_.token, unknown}) {
    options.token = token;
    EXPECT_EQ(Ask(options).ok(), token != unknown);
    EXPECT_EQ(client::GenerationClient(options).LoadModel("one").ok(), token == admin_.token);
  }
  Terminate();
  EXPECT_EQ(ExitCode(), kExitDrained);
  const std::string log = Log();
  EXPECT_THAT(log, HasSubstr("\"caller\":\"alice\""));
  EXPECT_THAT(log, HasSubstr("\"caller\":\"bob\""));
  EXPECT_THAT(log, HasSubstr("INVALID_CREDENTIALS"));
  const std::string key = Contents(scratch_.Path("key.pem"));
  const std::string secrets[] = {
      user_.token.substr(9),
      admin_.token.substr(9),
      unknown.substr(9),
      user_.line.substr(user_.line.rfind(' ') + 1),
      key.substr(key.find('\n') + 1, 40),  // the first line of the key itself
  };
  for (const std::string& secret : secrets) {
    ASSERT_GE(secret.size(), 40u);
    EXPECT_THAT(log, Not(HasSubstr(secret)));
  }
}

TEST_F(TokensTest, AreMadeByTheServersOwnCommand) {
  const std::string file = scratch_.Path("made");
  const ChildOutcome shown = Run({"token", "new", "--role", "user", "--name", "carol"});
  EXPECT_EQ(shown.code, 0);
  EXPECT_THAT(shown.standard_output, MatchesRegex("tightfit_[A-Za-z0-9_-]{43}\n"));
  EXPECT_THAT(shown.standard_error, testing::ContainsRegex("\nuser carol [0-9a-f]{64}\n$"));

  scratch_.Write("made", "# by hand, and without an end of line");
  chmod(file.c_str(), 0600);
  const ChildOutcome appended =
      Run({"token", "new", "--role=admin", "--name=dave", "--append-to", file});
  EXPECT_EQ(appended.code, 0);
  EXPECT_EQ(appended.standard_error, "");
  const std::string token = appended.standard_output.substr(0, appended.standard_output.size() - 1);
  EXPECT_THAT(Contents(file),
              MatchesRegex("# by hand, and without an end of line\nadmin dave [0-9a-f]{64}\n"));
  EXPECT_THAT(Contents(file), Not(HasSubstr(token)));

  const std::string fresh = scratch_.Path("fresh");
  EXPECT_EQ(Run({"token", "new", "--role=user", "--name=erin", "--append-to", fresh}).code, 0);
  struct stat about;
  ASSERT_EQ(stat(fresh.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);

  StartAndWaitUntilReady({"--tokens-file=" + file});
  EXPECT_TRUE(ClientWith(token).UnloadModel("one", false).ok());
}

TEST_F(TokensTest, AreRefusedToBeMadeForNobodyInParticular) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"token", "new"}, "token new: --role must be user or admin, not \"\"\n"},
      {{"token", "new", "--role=root", "--name=x"}, "token new: --role must be"},
      {{"token", "new", "--role=user"}, "token new: --name must be 1 to 64"},
      {{"token", "new", "--role=user", "--name=a b"}, "token new: --name must be 1 to 64"},
      {{"token", "new", "--rol=user"}, "unknown argument \"--rol\""},
      {{"token", "new", "--role=user", "--name=x", "--append-to=/nonexistent/tokens"},
       "--append-to: /nonexistent/tokens: No such file or directory\n"},
  };
  for (const auto& [arguments, line] : cases) {
    const ChildOutcome outcome = Run(arguments);
    EXPECT_EQ(outcome.code, kExitConfiguration) << line;
    EXPECT_EQ(outcome.standard_output, "");
    EXPECT_THAT(outcome.standard_error, testing::StartsWith("tightfit-server: " + line));
  }
}

TEST_F(TokensTest, ThatNobodyGetsAreAdmittedByNoLine) {
  const std::string file = scratch_.Path("made");
  for (const char* output : {">/dev/full", ">&-"}) {
    const ChildOutcome lost = RunChild(
        {"/bin/sh", "-c", std::string("exec \"$0\" \"$@\" ") + output, TIGHTFIT_FAKE_SERVER,
         "token", "new", "--role=user", "--name=erin", "--append-to", file});
    EXPECT_EQ(lost.code, kExitConfiguration) << output;
    EXPECT_THAT(lost.standard_error, HasSubstr("the token could not be written"));
    EXPECT_EQ(Contents(file), "") << output;
  }
}

TEST_F(TokensTest, AreExplained) {
  const ChildOutcome about = Run({"token", "--help"});
  EXPECT_EQ(about.code, 0) << about.standard_error;
  EXPECT_THAT(about.standard_output, HasSubstr("new"));
  EXPECT_EQ(Run({"token", "-h"}).standard_output, about.standard_output);
  EXPECT_THAT(Run({"token", "new", "--help"}).standard_output, HasSubstr("--append-to"));
  const ChildOutcome bare = Run({"token"});
  EXPECT_EQ(bare.code, kExitConfiguration);
  EXPECT_THAT(bare.standard_error, HasSubstr("token --help"));
}

TEST_F(TokensTest, AreNotSentToAnotherMachineInPlainText) {
  client::ClientOptions options{.server = "192.0.2.1:50051", .token = user_.token};
  const Status status = Ask(options);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.reason(), client::kBadCredentials);
  EXPECT_THAT(status.ForLog(), Not(HasSubstr(user_.token)));
  options.server = "127.0.0.1:1";
  options.connect_timeout = std::chrono::milliseconds(100);
  options.token = "no token\nat all";
  EXPECT_EQ(Ask(options).reason(), client::kBadCredentials);
}

}  // namespace
}  // namespace tightfit
