#include "server/telemetry/logging.h"

#include "tests/unit/telemetry/captured_log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <thread>

namespace tightfit {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::MatchesRegex;

TEST(LoggingTest, WritesTextWithTimeLevelAndFields) {
  const CapturedLog log(LogLevel::kInfo, LogFormat::kText);
  Log(LogLevel::kInfo, "model resident",
      {{"model", "sdxl"}, {"weight_bytes", int64_t{42}}, {"seconds", 1.5}, {"ok", true}});
  EXPECT_THAT(log.Lines(),
              ElementsAre(MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
                                       "\\.[0-9]{3}Z info model resident model=sdxl "
                                       "weight_bytes=42 seconds=1.5 ok=true")));
}

TEST(LoggingTest, QuotesTextThatCouldFakeAFieldOrALine) {
  const CapturedLog log(LogLevel::kInfo, LogFormat::kText);
  Log(LogLevel::kInfo, "x", {{"a", "1 b=2"}, {"c", "line\nbreak"}, {"d", ""}, {"e", "q\"q"}});
  EXPECT_THAT(log.Lines(),
              ElementsAre(EndsWith("x a=\"1 b=2\" c=\"line\\nbreak\" d=\"\" e=\"q\\\"q\"")));
}

TEST(LoggingTest, WritesOneJsonObjectALine) {
  const CapturedLog log(LogLevel::kDebug, LogFormat::kJson);
  Log(LogLevel::kWarning, "odd \"text\"\n",
      {{"text", "a\\b\t\x01 \u00fc"}, {"count", int64_t{-3}}, {"seconds", 0.25}, {"ok", false}});
  Log(LogLevel::kDebug, "no fields");
  const std::vector<std::string> lines = log.Lines();
  ASSERT_EQ(lines.size(), 2u);
  const auto first = nlohmann::json::parse(lines[0]);
  EXPECT_EQ(first["level"], "warning");
  EXPECT_EQ(first["message"], "odd \"text\"\n");
  EXPECT_EQ(first["text"], "a\\b\t\x01 \u00fc");
  EXPECT_EQ(first["count"], -3);
  EXPECT_EQ(first["seconds"], 0.25);
  EXPECT_EQ(first["ok"], false);
  EXPECT_THAT(first["time"].get<std::string>(), MatchesRegex(".*T.*\\.[0-9]{3}Z"));
  EXPECT_EQ(nlohmann::json::parse(lines[1])["message"], "no fields");
}

TEST(LoggingTest, ReplacesBytesThatAreNoText) {
  const CapturedLog log(LogLevel::kInfo, LogFormat::kJson);
  Log(LogLevel::kInfo, "x", {{"text", "\xff\xfe"}});
  EXPECT_EQ(nlohmann::json::parse(log.Lines().at(0))["text"], "\ufffd\ufffd");
}

TEST(LoggingTest, LeavesOutWhatIsBelowTheLevel) {
  const CapturedLog log(LogLevel::kWarning, LogFormat::kText);
  Log(LogLevel::kDebug, "a");
  Log(LogLevel::kInfo, "b");
  Log(LogLevel::kWarning, "c");
  Log(LogLevel::kError, "d");
  EXPECT_THAT(log.Lines(), ElementsAre(EndsWith("warning c"), EndsWith("error d")));
}

TEST(LoggingTest, KeepsLinesOfManyThreadsWhole) {
  const CapturedLog log(LogLevel::kInfo, LogFormat::kJson);
  const std::string long_text(3000, 'x');
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) Log(LogLevel::kInfo, "m", {{"text", long_text}});
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> lines = log.Lines();
  EXPECT_EQ(lines.size(), 200u);
  for (const std::string& line : lines) EXPECT_EQ(nlohmann::json::parse(line)["text"], long_text);
}

// Both ends of a pipe that takes no more bytes until it is read.
class FullPipe {
 public:
  FullPipe() {
    EXPECT_EQ(pipe(ends_), 0);
    EXPECT_EQ(fcntl(ends_[1], F_SETFL, O_NONBLOCK), 0);
    const std::string bytes(4096, '-');
    while (write(ends_[1], bytes.data(), bytes.size()) > 0) {
    }
    EXPECT_EQ(fcntl(ends_[1], F_SETFL, 0), 0);
    file_ = fdopen(ends_[1], "w");
  }
  ~FullPipe() {
    std::fclose(file_);
    close(ends_[0]);
  }
  std::FILE* file() const { return file_; }
  // What is in it until `last` has come.
  std::string ReadUntil(const std::string& last) const {
    std::string text;
    char buffer[4096];
    while (text.find(last) == std::string::npos) {
      const ssize_t count = read(ends_[0], buffer, sizeof(buffer));
      if (count <= 0) break;
      text.append(buffer, static_cast<size_t>(count));
    }
    return text;
  }

 private:
  int ends_[2];
  std::FILE* file_;
};

TEST(LoggingTest, NeverWaitsForAPipeThatNobodyReads) {
  const FullPipe pipe;
  OpenLog(LogLevel::kInfo, LogFormat::kText, pipe.file());
  constexpr size_t kLines = 3 * kMaxWaitingLogLines;
  for (size_t i = 0; i < kLines; ++i) Log(LogLevel::kInfo, "line " + std::to_string(i));
  EXPECT_FALSE(FlushLog(std::chrono::milliseconds(20)));

  const std::string last = "line " + std::to_string(kLines - 1) + "\n";
  const std::string text = pipe.ReadUntil(last);
  EXPECT_TRUE(FlushLog(std::chrono::seconds(10)));
  // The newest lines are there; of all others it is said how many they were.
  size_t written = 0;
  for (size_t at = text.find(" line "); at != text.npos; at = text.find(" line ", at + 1))
    ++written;
  size_t dropped = 0;
  const std::string count = "nobody read them count=";
  for (size_t at = text.find(count); at != text.npos; at = text.find(count, at + 1)) {
    dropped += std::stoul(text.substr(at + count.size()));
  }
  EXPECT_EQ(written + dropped, kLines);
  EXPECT_GE(written, kMaxWaitingLogLines);
  OpenLog(LogLevel::kError, LogFormat::kText, stderr);
}

TEST(LoggingTest, KnowsTheNamesThatConfigurationTakes) {
  EXPECT_EQ(LogLevelByName("debug"), LogLevel::kDebug);
  EXPECT_EQ(LogLevelByName("info"), LogLevel::kInfo);
  EXPECT_EQ(LogLevelByName("warning"), LogLevel::kWarning);
  EXPECT_EQ(LogLevelByName("error"), LogLevel::kError);
  EXPECT_EQ(LogFormatByName("json"), LogFormat::kJson);
  EXPECT_EQ(LogFormatByName("text"), LogFormat::kText);
}

}  // namespace
}  // namespace tightfit
