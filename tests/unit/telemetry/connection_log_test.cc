#include "server/telemetry/connection_log.h"

#include "tests/support/fake_clock.h"
#include "tests/unit/telemetry/captured_log.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace tightfit {
namespace {

class ConnectionLogTest : public testing::Test {
 protected:
  std::vector<nlohmann::json> Lines() const {
    std::vector<nlohmann::json> lines;
    for (const std::string& line : captured_.Lines()) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

  CapturedLog captured_{LogLevel::kDebug, LogFormat::kJson};
  FakeClock clock_;
  ConnectionLog log_{&clock_};
};

TEST_F(ConnectionLogTest, SaysNothingWhileNobodyIsRefused) {
  log_.OnConnections({.open = 1});
  log_.OnConnections({.open = 500});
  EXPECT_TRUE(Lines().empty());
}

TEST_F(ConnectionLogTest, SaysTheFirstAtOnceAndTheOthersOnceAMinute) {
  ConnectionCounts counts = {.open = 50, .refused_for_limit = 1};
  log_.OnConnections(counts);
  ASSERT_EQ(Lines().size(), 1u);
  EXPECT_EQ(Lines()[0].at("over_limit"), 1);
  for (int second = 1; second < 120; ++second) {
    clock_.Advance(std::chrono::seconds(1));
    ++counts.refused_for_address_limit;
    log_.OnConnections(counts);
  }
  ASSERT_EQ(Lines().size(), 2u);
  EXPECT_EQ(Lines()[1].at("over_limit"), 0);
  EXPECT_EQ(Lines()[1].at("over_address_limit"), 60);
  EXPECT_EQ(Lines()[1].at("open"), 50);
  // What came after it is told in the next minute, also when it has ended.
  clock_.Advance(std::chrono::minutes(1));
  log_.OnConnections(counts);
  ASSERT_EQ(Lines().size(), 3u);
  EXPECT_EQ(Lines()[2].at("over_address_limit"), 59);
}

}  // namespace
}  // namespace tightfit
