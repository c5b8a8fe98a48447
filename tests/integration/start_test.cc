// From the start of the process to the first request.
#include "server/app/serve.h"
#include "tests/integration/served_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

namespace tightfit {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kImageService[] = "tightfit.v1.ImageGenerationService";

class StartTest : public ServedFixture {};

TEST_F(StartTest, IsNotServingUntilItsModelIsLoaded) {
  scratch_.Write("hold", "");
  Start({}, {{"FAKE_LOAD_HOLD", scratch_.Path("hold")}});
  EXPECT_EQ(health_->Check(""), "NOT_SERVING");
  EXPECT_EQ(health_->Check(kImageService), "NOT_SERVING");
  EXPECT_EQ(health_->Check("model/one"), "NOT_SERVING");
  EXPECT_EQ(health_->Check("model/none"), "NOT_FOUND");
  StreamingRequest early(channel_, Parameters(1));
  EXPECT_EQ(early.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);

  scratch_.Remove("hold");
  EXPECT_TRUE(WaitForHealth("", "SERVING"));
  EXPECT_EQ(health_->Check(kImageService), "SERVING");
  EXPECT_EQ(health_->Check("model/one"), "SERVING");
  StreamingRequest request(channel_, Parameters(1));
  EXPECT_TRUE(request.Finish().ok());
  EXPECT_EQ(request.finished_image_count(), 1);
}

TEST_F(StartTest, ServesOneModelThoughAnotherFails) {
  StartAndWaitUntilReady({"--model=broken=" + scratch_.MakeModel("broken") + ",preload=true"},
                         {{"FAKE_FAILING_MODEL", "broken"}});
  EXPECT_EQ(health_->Check("model/one"), "SERVING");
  EXPECT_EQ(health_->Check("model/broken"), "NOT_SERVING");
  EXPECT_THAT(Log(), HasSubstr("error model could not be loaded model=broken code=DATA_LOSS "
                               "reason=CHECKSUM_MISMATCH"));
  v1::ImageParameters parameters = Parameters(1);
  parameters.set_model("broken");
  StreamingRequest refused(channel_, parameters);
  const grpc::Status status = refused.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), Not(HasSubstr("/secret/path")));
  parameters.set_model("one");
  StreamingRequest served(channel_, parameters);
  EXPECT_TRUE(served.Finish().ok());
}

TEST_F(StartTest, ExitsWhenNoModelCanBeLoaded) {
  // Without waiting for its addresses: it may be gone before.
  server_ =
      ServerProcess::Start(TIGHTFIT_FAKE_SERVER, scratch_,
                           {"--model=broken=" + scratch_.MakeModel("broken") + ",preload=true"},
                           {{"FAKE_FAILING_MODEL", "broken"}});
  ASSERT_NE(server_, nullptr);
  EXPECT_EQ(ExitCode(), kExitConfiguration);
  EXPECT_THAT(Log(), HasSubstr("model could not be loaded model=broken"));
  EXPECT_THAT(Log(), HasSubstr("no model could be loaded"));
  EXPECT_FALSE(scratch_.Has("addresses.json"));
}

TEST_F(StartTest, WritesItsAddressesAsJson) {
  Start();
  std::ifstream file(server_->address_file());
  const nlohmann::json addresses = nlohmann::json::parse(file);
  EXPECT_EQ(addresses.size(), 2u);
  EXPECT_THAT(addresses.at("listen").get<std::string>(),
              testing::MatchesRegex("127.0.0.1:[1-9].*"));
  EXPECT_THAT(addresses.at("metrics_listen").get<std::string>(),
              testing::MatchesRegex("127.0.0.1:[1-9].*"));
}

TEST_F(StartTest, ServesOnAUnixSocketWithoutMetrics) {
  const std::string address = "unix:" + scratch_.Path("socket");
  const std::vector<std::string> arguments = {
      TIGHTFIT_FAKE_SERVER, "--listen=" + address, "--metrics-listen=none",
      "--address-file=" + scratch_.Path("addresses.json"),
      "--model=one=" + scratch_.MakeModel("one") + ",preload=true"};
  const std::unique_ptr<ChildProcess> server = ChildProcess::Start(arguments, {});
  ASSERT_TRUE(WaitUntil([&] { return scratch_.Has("addresses.json"); }));
  std::ifstream file(scratch_.Path("addresses.json"));
  EXPECT_EQ(nlohmann::json::parse(file), nlohmann::json({{"listen", address}}));
  HealthClient health(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  EXPECT_TRUE(WaitUntil([&] { return health.Check("") == "SERVING"; }));
  server->Signal(SIGTERM);
  EXPECT_EQ(server->WaitForExit(std::chrono::seconds(10)), kExitDrained);
}

TEST_F(StartTest, WarnsOfPlainTextThatOthersCanReach) {
  StartAndWaitUntilReady({"--log-format=json"});
  EXPECT_THAT(Log(), Not(HasSubstr("plain text")));
  const auto warned = [this](const std::string& flag, const std::string& expected) {
    const std::vector<std::string> arguments = {TIGHTFIT_FAKE_SERVER, "--allow-plaintext", flag,
                                                "--address-file=" + scratch_.Path("open.json"),
                                                "--model=one=" + scratch_.Path("one")};
    const std::unique_ptr<ChildProcess> open = ChildProcess::Start(arguments, {});
    EXPECT_TRUE(WaitUntil([&] {
      return open->standard_error().find(expected) != std::string::npos;
    })) << open->standard_error();
  };
  const std::string config =
      scratch_.Write("open.toml", "listen = \"0.0.0.0:0\"\nmetrics_listen = \"127.0.0.1:0\"\n");
  warned("--config=" + config,
         " warning 0.0.0.0:0: this address can be reached from other machines in plain text: there "
         "is no TLS and no authentication");
  scratch_.Write("tokens",
                 "user a 8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8\n");
  std::ofstream(config, std::ios::app) << "tokens_file = \"tokens\"\n";
  warned("--config=" + config, "whoever sees the traffic can take the tokens and use them");
  scratch_.Write("open.toml", "listen = \"127.0.0.1:0\"\nmetrics_listen = \"0.0.0.0:0\"\n");
  warned("--config=" + config, "warning metrics can be read from other machines");
}

}  // namespace
}  // namespace tightfit
