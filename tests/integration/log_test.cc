// The log of a whole process.
#include "server/app/serve.h"
#include "tests/integration/served_fixture.h"
#include "tests/support/bad_image_parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <sstream>

namespace tightfit {
namespace {

using testing::HasSubstr;
using testing::Not;

class LogTest : public ServedFixture {};

TEST_F(LogTest, IsJsonLinesThatNeverHoldAPrompt) {
  StartAndWaitUntilReady({"--log-format=json", "--log-level=debug", "--max-prompt-bytes=64"});
  const std::string secret = "xyzzy";
  v1::ImageParameters parameters = Parameters(1);
  parameters.set_prompt(secret);
  parameters.set_prompt_2(secret);
  parameters.set_negative_prompt(secret);
  EXPECT_TRUE(StreamingRequest(channel_, parameters).Finish().ok());
  parameters.set_prompt(secret + std::string(100, 'x'));
  parameters.set_sampler(secret);
  EXPECT_FALSE(StreamingRequest(channel_, parameters).Finish().ok());
  parameters.set_model(secret);
  EXPECT_FALSE(StreamingRequest(channel_, parameters).Finish().ok());
  Terminate();
  ASSERT_EQ(ExitCode(), kExitDrained);

  EXPECT_THAT(Log(), Not(HasSubstr(secret)));
  std::map<std::string, int> messages;
  std::istringstream lines(Log());
  for (std::string text; std::getline(lines, text);) {
    const nlohmann::json line = nlohmann::json::parse(text, nullptr, false);
    ASSERT_TRUE(line.is_object()) << text;
    EXPECT_TRUE(line.contains("time") && line.contains("level")) << text;
    ++messages[line.at("message").get<std::string>()];
  }
  for (const char* message : {"listening", "model loading", "model resident", "ready",
                              "request finished", "draining", "stopped"}) {
    EXPECT_EQ(messages[message], 1) << message;
  }
  EXPECT_EQ(messages["request failed"], 2);
}

TEST_F(LogTest, TellsNothingOfWhatBadRequestsHold) {
  StartAndWaitUntilReady({"--log-format=json", "--log-level=debug"});
  const auto stub = v1::ImageGenerationService::NewStub(channel_);
  size_t refused = 0;
  for (const BadImageParameters& bad : AllBadImageParameters()) {
    v1::GenerateImagesRequest request;
    *request.mutable_parameters() = Parameters(1);
    request.mutable_parameters()->set_prompt("secret");
    request.mutable_parameters()->set_negative_prompt("secret");
    bad.change(*request.mutable_parameters());
    grpc::ClientContext context;
    v1::GenerateImagesResponse response;
    const grpc::Status status = stub->GenerateImages(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << bad.name;
    EXPECT_EQ(status.error_details().find("secret"), std::string::npos) << bad.name;
    ++refused;
  }
  Terminate();
  ASSERT_EQ(ExitCode(), kExitDrained);
  const std::string log = Log();
  EXPECT_EQ(log.find("secret"), std::string::npos);
  size_t lines = 0;
  for (size_t at = log.find("request failed"); at != log.npos; ++lines) {
    at = log.find("request failed", at + 1);
  }
  EXPECT_EQ(lines, refused) << "each one has a line of its own";
}

TEST_F(LogTest, TellsWhatARequestTook) {
  StartAndWaitUntilReady({"--log-format=json"});
  v1::ImageParameters parameters = Parameters(3);
  parameters.set_image_count(2);
  EXPECT_TRUE(StreamingRequest(channel_, parameters).Finish().ok());
  const auto finished = [&] { return Log().find("request finished") != std::string::npos; };
  ASSERT_TRUE(WaitUntil(finished));
  const std::string log = Log();
  const size_t start = log.rfind('\n', log.find("request finished")) + 1;
  const nlohmann::json line =
      nlohmann::json::parse(log.substr(start, log.find('\n', start) - start));
  EXPECT_EQ(line["model"], "one");
  EXPECT_EQ(line["step_count"], 3);
  EXPECT_EQ(line["image_count"], 2);
  EXPECT_EQ(line["code"], "OK");
  EXPECT_FALSE(line["request_id"].get<std::string>().empty());
  EXPECT_GT(line["duration_seconds"].get<double>(), 0.0);
}

}  // namespace
}  // namespace tightfit
