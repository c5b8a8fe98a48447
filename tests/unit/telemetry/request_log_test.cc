#include "server/telemetry/request_log.h"

#include "tests/unit/telemetry/captured_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace tightfit {
namespace {

RequestRecord Record(const std::string& method, Status status) {
  RequestRecord record;
  record.method = method;
  record.model = "sdxl";
  record.request_id = "r-1";
  record.status = std::move(status);
  record.duration = std::chrono::milliseconds(1500);
  record.width_px = 64;
  record.height_px = 32;
  record.step_count = 4;
  record.image_count = 2;
  return record;
}

class RequestLogTest : public testing::Test {
 protected:
  nlohmann::json LineOf(const RequestRecord& record) {
    const CapturedLog captured(LogLevel::kDebug, LogFormat::kJson);
    log_.OnRequestRecord(record);
    const std::vector<std::string> lines = captured.Lines();
    EXPECT_EQ(lines.size(), 1u);
    return nlohmann::json::parse(lines.at(0));
  }

  RequestLog log_;
};

TEST_F(RequestLogTest, TellsSizesAndTimeOfAnImage) {
  const nlohmann::json line = LineOf(Record("StreamImages", OkStatus()));
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["request_id"], "r-1");
  EXPECT_EQ(line["model"], "sdxl");
  EXPECT_EQ(line["code"], "OK");
  EXPECT_EQ(line["duration_seconds"], 1.5);
  EXPECT_EQ(line["width_px"], 64);
  EXPECT_EQ(line["height_px"], 32);
  EXPECT_EQ(line["step_count"], 4);
  EXPECT_EQ(line["image_count"], 2);
}

TEST_F(RequestLogTest, GivesEachOutcomeItsLevel) {
  const auto level = [&](const std::string& method, StatusCode code) {
    return LineOf(Record(method,
                         code == StatusCode::kOk ? OkStatus() : Status(code, "REASON", "message")))
        .at("level");
  };
  EXPECT_EQ(level("GenerateImages", StatusCode::kOk), "info");
  EXPECT_EQ(level("GetModel", StatusCode::kOk), "debug");
  EXPECT_EQ(level("StreamImages", StatusCode::kCancelled), "info");
  EXPECT_EQ(level("StreamImages", StatusCode::kResourceExhausted), "warning");
  EXPECT_EQ(level("StreamImages", StatusCode::kUnavailable), "warning");
  EXPECT_EQ(level("StreamImages", StatusCode::kInternal), "error");
  EXPECT_EQ(level("GetModel", StatusCode::kDataLoss), "error");
}

TEST_F(RequestLogTest, TellsTheOperatorsDetailOfAFailure) {
  const nlohmann::json line =
      LineOf(Record("StreamImages", Internal("the UNet failed", "at::Error: shape")));
  EXPECT_EQ(line["code"], "INTERNAL");
  EXPECT_EQ(line["reason"], "INTERNAL");
  EXPECT_EQ(line["error"], "the UNet failed [at::Error: shape]");
}

TEST_F(RequestLogTest, NamesBadFieldsWithoutWhatTheyHeld) {
  const Status status =
      InvalidArgument("prompt \"a secret cat\" is too long")
          .WithFieldViolations({{"parameters.prompt", "\"a secret cat\" is too long"},
                                {"parameters.width_px", "must be a multiple of 8"}});
  const nlohmann::json line = LineOf(Record("StreamImages", status));
  EXPECT_EQ(line["error"], "parameters.prompt,parameters.width_px");
  EXPECT_EQ(line.dump().find("secret"), std::string::npos);
}

}  // namespace
}  // namespace tightfit
