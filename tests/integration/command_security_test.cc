// The `tightfit` command with certificates and tokens, as people type it.
#include "tests/integration/secure_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace tightfit {
namespace {

using testing::HasSubstr;
using testing::Not;

class CommandSecurityTest : public SecureFixture {
 protected:
  void StartSecured() {
    std::vector<std::string> flags = TlsFlags(authority_.Issue());
    flags.push_back(TokensFlag());
    Start(flags);
    ca_ = scratch_.Write("ca.pem", authority_.certificate());
  }

  ChildOutcome Tightfit(std::vector<std::string> arguments,
                        const std::map<std::string, std::string>& environment = {}) const {
    arguments.insert(arguments.begin(), TIGHTFIT_COMMAND);
    return RunChild(arguments, environment);
  }

  // Expects one line on standard error that holds `words`, and nothing on standard output.
  void ExpectError(const ChildOutcome& outcome, int code, const std::string& words) const {
    EXPECT_EQ(outcome.code, code) << outcome.standard_error;
    EXPECT_EQ(outcome.standard_output, "");
    EXPECT_EQ(std::count(outcome.standard_error.begin(), outcome.standard_error.end(), '\n'), 1)
        << outcome.standard_error;
    EXPECT_THAT(outcome.standard_error, HasSubstr(words));
    EXPECT_THAT(outcome.standard_error, Not(HasSubstr(user_.token)));
  }

  std::string ca_;
};

TEST_F(CommandSecurityTest, TakesTheTokenFromAFileOrTheEnvironment) {
  StartSecured();
  const std::string file = WritePrivate("alice.token", user_.token + "\n");
  const std::vector<std::string> info = {"info", "--server", server_->listen(), "--tls-ca", ca_};
  std::vector<std::string> with_file = info;
  with_file.insert(with_file.end(), {"--token-file", file});
  EXPECT_EQ(Tightfit(with_file).code, 0);
  EXPECT_EQ(Tightfit(info, {{"TIGHTFIT_TOKEN", user_.token}}).code, 0);
  EXPECT_EQ(Tightfit({"info", "--server", server_->listen()},
                     {{"TIGHTFIT_TOKEN", user_.token}, {"TIGHTFIT_TLS_CA", ca_}})
                .code,
            0);
  EXPECT_EQ(Tightfit(with_file, {{"TIGHTFIT_TOKEN", "another"}}).code, 0) << "the file goes first";
  ExpectError(Tightfit(info), 1, "--token-file FILE or TIGHTFIT_TOKEN");
}

TEST_F(CommandSecurityTest, SaysWhatIsMissingInOneLine) {
  StartSecured();
  ExpectError(Tightfit({"info", "--server", "https://" + server_->listen()}), 3,
              "none of the given roots vouches for");
  ExpectError(Tightfit({"info", "--server", server_->listen(), "--connect-timeout", "4"}), 3,
              "connect with TLS (--tls-ca");
  ExpectError(Tightfit({"info", "--server", "192.0.2.1:1"}, {{"TIGHTFIT_TOKEN", user_.token}}), 2,
              "in plain text, for others to read and use; connect with TLS (--tls-ca");
}

TEST_F(CommandSecurityTest, RefusesFilesThatItCannotUse) {
  const std::string file = scratch_.Write("file", "no PEM");
  const std::string empty = scratch_.Write("empty", "");
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"--tls-ca", "/nonexistent"}, "--tls-ca: cannot read /nonexistent: No such file"},
      {{"--tls-ca", file}, "--tls-ca: " + file + " is not in PEM"},
      {{"--tls-cert", file}, "--tls-key are of use together only"},
      {{"--tls-key", file}, "--tls-key are of use together only"},
      {{"--token-file", empty}, "--token-file: cannot read " + empty + ": it is empty"},
      {{"--token", "secret"}, "--token"},
  };
  for (const auto& [flags, words] : cases) {
    std::vector<std::string> arguments = {"info"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const ChildOutcome outcome = Tightfit(arguments);
    EXPECT_EQ(outcome.code, 2) << words;
    EXPECT_THAT(outcome.standard_error, HasSubstr(words));
  }
}

TEST_F(CommandSecurityTest, ExplainsWhyNoOptionTakesTheToken) {
  const ChildOutcome help = Tightfit({"generate", "--help"});
  EXPECT_EQ(help.code, 0);
  for (const char* flag : {"--tls-ca FILE", "--tls-cert FILE", "--tls-key FILE",
                           "--token-file FILE", "TIGHTFIT_TOKEN"}) {
    EXPECT_THAT(help.standard_output, HasSubstr(flag));
  }
  EXPECT_THAT(Tightfit({"--help"}).standard_output,
              HasSubstr("a machine can read its command lines"));
}

}  // namespace
}  // namespace tightfit
