// A server that cannot start says why in one line and exits with 78.
#include "server/app/serve.h"
#include "tests/integration/served_fixture.h"
#include "tests/support/test_certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>

namespace tightfit {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class BadStartTest : public ServedFixture {
 protected:
  ChildOutcome Run(std::vector<std::string> arguments,
                   const std::map<std::string, std::string>& environment = {}) {
    arguments.insert(arguments.begin(), TIGHTFIT_FAKE_SERVER);
    return RunChild(arguments, environment);
  }

  // Expects exit code 78 and one line on standard error that begins with `line`.
  void ExpectRefused(const std::vector<std::string>& arguments, const std::string& line,
                     const std::map<std::string, std::string>& environment = {}) {
    const ChildOutcome outcome = Run(arguments, environment);
    EXPECT_EQ(outcome.code, kExitConfiguration);
    EXPECT_THAT(outcome.standard_error, StartsWith("tightfit-server: " + line));
    EXPECT_EQ(std::count(outcome.standard_error.begin(), outcome.standard_error.end(), '\n'), 1)
        << outcome.standard_error;
    EXPECT_EQ(outcome.standard_output, "");
  }

  std::string Model() { return "--model=one=" + scratch_.MakeModel("one") + ",preload=true"; }
};

TEST_F(BadStartTest, NamesAnUnknownKey) {
  scratch_.MakeModel("one") + ",preload=true";
  const std::string path = scratch_.Write(
      "tightfit.toml", "[[model]]\nname = \"sdxl\"\npath = \"one\"\nformt = \"hf8\"\n");
  ExpectRefused({"--config", path}, path +
                                        ":4: unknown key \"formt\" in [[model]] \"sdxl\"; did "
                                        "you mean \"format\"?\n");
}

TEST_F(BadStartTest, NamesAMissingModel) {
  ExpectRefused({"--model=one=/nonexistent/sdxl"},
                "--model one: path: /nonexistent/sdxl does not exist\n");
}

TEST_F(BadStartTest, NamesAMissingFile) {
  ExpectRefused({"--config=/nonexistent.toml"}, "/nonexistent.toml: No such file or directory\n");
}

TEST_F(BadStartTest, RefusesMoreConnectionsThanItMayHaveDescriptors) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  if (before.rlim_max > 1'000'000) GTEST_SKIP() << "this machine has descriptors without end";
  ExpectRefused({Model(), "--max-connections=1000000"},
                "limits.max_connections: 1000000 does not fit the " +
                    std::to_string(before.rlim_max) + " descriptors that this process may open");
  ExpectRefused({Model(), "--max-connections=10", "--max-connections-per-address=11"},
                "limits.max_connections_per_address: 11 is above max_connections, 10");
}

TEST_F(BadStartTest, RefusesADeviceThatIsNotThere) {
  ExpectRefused({Model(), "--device=cuda:0"},
                "device: cuda:0 is not available: this server computes on the CPU only; use device "
                "= \"cpu\" or \"auto\"\n");
  ExpectRefused({Model(), "--device=gpu"}, "--device: \"gpu\" is none of auto, cpu, cuda:N\n");
}

TEST_F(BadStartTest, RefusesPlainTextBeyondThisMachine) {
  for (const char* address : {"0.0.0.0:0", "[::]:0", "gpu-1.example.org:50051"}) {
    ExpectRefused({Model(), "--listen", address},
                  std::string("--listen: ") + address +
                      " can be reached from other machines, in plain text; give tls_certificate "
                      "and tls_private_key, or --allow-plaintext where the network itself is "
                      "trusted\n");
  }
  const ChildOutcome allowed = Run({Model(), "--check", "--listen=0.0.0.0:0", "--allow-plaintext"});
  EXPECT_EQ(allowed.code, 0);
  EXPECT_THAT(allowed.standard_error,
              StartsWith("tightfit-server: warning: 0.0.0.0:0: this address can be reached"));
  EXPECT_EQ(Run({Model(), "--check", "--listen=unix:/tmp/socket"}).code, 0);
}

TEST_F(BadStartTest, RefusesACertificateWithoutItsKeyAndTheOtherWayRound) {
  ExpectRefused({Model(), "--tls-certificate=x"},
                "--tls-certificate: needs its key, tls_private_key, too\n");
  ExpectRefused({Model(), "--tls-private-key=x"},
                "--tls-private-key: needs its certificate, tls_certificate, too\n");
  ExpectRefused({Model(), "--tls-client-ca=x"}, "--tls-client-ca: needs TLS: ");
}

TEST_F(BadStartTest, NamesTheSettingAndTheFileThatAreWrong) {
  const TestAuthority authority("test authority");
  const TestCertificate good = authority.Issue();
  const std::string certificate = scratch_.Write("cert.pem", good.certificate);
  scratch_.Write("other.pem", authority.Issue().private_key);
  scratch_.MakeModel("one");
  const auto config = [&](const std::string& settings) {
    return scratch_.Write("tightfit.toml",
                          settings + "[[model]]\nname = \"one\"\npath = \"one\"\n");
  };
  std::string path = config("tls_certificate = \"cert.pem\"\ntls_private_key = \"missing.pem\"\n");
  ExpectRefused({"--config", path}, path + ":2: tls_private_key: " + scratch_.Path("missing.pem") +
                                        ": No such file or directory\n");
  path = config("tls_certificate = \"cert.pem\"\ntls_private_key = \"other.pem\"\n");
  ExpectRefused({"--config", path}, path + ":2: tls_private_key: " + scratch_.Path("other.pem") +
                                        ": is not the key of the first certificate in " +
                                        certificate + "\n");
  scratch_.Write("tokens", "# users\nuser alice\n");
  path = config("tokens_file = \"tokens\"\n");
  ExpectRefused({"--config", path}, path + ":1: tokens_file: " + scratch_.Path("tokens") +
                                        ": line 2: must be ROLE NAME SHA256, three words\n");
  path = config("allow_plaintext = 1\n");
  ExpectRefused({"--config", path},
                path + ":1: allow_plaintext: must be true or false, not a whole number\n");
}

TEST_F(BadStartTest, RefusesAPortInUse) {
  Start();
  ExpectRefused({Model(), "--listen=" + server_->listen(), "--metrics-listen=none"},
                "listen: " + server_->listen() + ": ");
  ExpectRefused({Model(), "--listen=127.0.0.1:0", "--metrics-listen=" + server_->metrics_listen()},
                "metrics_listen: " + server_->metrics_listen() + ": ");
  EXPECT_TRUE(WaitForHealth("", "SERVING")) << "the first server goes on";
}

TEST_F(BadStartTest, RefusesAnAddressFileThatCannotBeWritten) {
  ExpectRefused({Model(), "--listen=127.0.0.1:0", "--metrics-listen=none",
                 "--address-file=/nonexistent/addresses.json"},
                "address_file: cannot write /nonexistent/addresses.json: No such file");
}

TEST_F(BadStartTest, ExitsWith70WhenALibraryThrows) {
  const ChildOutcome outcome =
      RunChild({TIGHTFIT_FAKE_SERVER, Model(), "--listen=127.0.0.1:0", "--metrics-listen=none"},
               {{"FAKE_INIT_EXCEPTION", "no threads"}});
  EXPECT_EQ(outcome.code, kExitInternal);
  EXPECT_THAT(outcome.standard_error, HasSubstr("no threads"));
}

TEST_F(BadStartTest, ChecksWithoutServing) {
  const ChildOutcome good = Run({Model(), "--check"});
  EXPECT_EQ(good.code, 0);
  EXPECT_EQ(good.standard_output, "The configuration is valid: 1 model.\n");
  EXPECT_EQ(good.standard_error, "");
  ExpectRefused({"--check"}, "no model is configured");
}

TEST_F(BadStartTest, ChecksWhatTheModelsDirectoriesSay) {
  const std::map<std::string, std::string> environment = {{"FAKE_WEIGHT_MIB", "40"}};
  const std::string model = "--model=one=" + scratch_.MakeModel("one");
  EXPECT_EQ(Run({model + ",exclude=conv_in", "--memory-limit-mib=40", "--check"}, environment).code,
            0);
  ExpectRefused({model + ",exclude=convin", "--check"},
                "--model one: exclude: no module \"convin\"\n", environment);
  ExpectRefused({model, "--memory-limit-mib=5", "--check"},
                "--model one: the model needs 40 MiB, and the server may use 5 MiB; ", environment);
  const std::string path = scratch_.Write("tightfit.toml",
                                          "[limits]\nmin_side_px = 17\nmax_side_px = 17\n"
                                          "[[model]]\nname = \"one\"\npath = \"one\"\n");
  ExpectRefused({"--config", path, "--check"},
                path + ":5: [[model]] \"one\": no side from limits.min_side_px, 17, to ",
                environment);
}

TEST_F(BadStartTest, WarnsOfAModelThatCanNeverBeServed) {
  Start({"--memory-limit-mib=5", "--model=two=" + scratch_.MakeModel("two")},
        {{"FAKE_WEIGHT_MIB", "40"}});
  ASSERT_TRUE(WaitForHealth("", "SERVING")) << Log();
  EXPECT_THAT(Log(), HasSubstr("no request for this model can be served"));
  EXPECT_THAT(Log(), HasSubstr("model=two"));
}

TEST_F(BadStartTest, AnswersHelpAndVersion) {
  const ChildOutcome help = Run({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.standard_output, HasSubstr("--max-queued-requests"));
  const ChildOutcome version = Run({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_THAT(version.standard_output,
              testing::ContainsRegex("^tightfit-server [0-9]+\\.[0-9]+\\.[0-9]+ \\((commit "
                                     "[0-9a-f]{12}(-dirty)?|no commit known)\\)\n"));
}

}  // namespace
}  // namespace tightfit
