#include "server/telemetry/logging.h"

#include <nlohmann/json.hpp>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>

namespace tightfit {
namespace {

constexpr std::array<std::pair<std::string_view, LogLevel>, 4> kLevels = {{
    {"debug", LogLevel::kDebug},
    {"info", LogLevel::kInfo},
    {"warning", LogLevel::kWarning},
    {"error", LogLevel::kError},
}};

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

constexpr std::chrono::milliseconds kFlushInterval{1};
// How long the end of a log in tests may wait for its file.
constexpr std::chrono::seconds kReopenLimit{10};

// Writes lines to `file` on the thread of `queue`, and says how many were dropped before one.
class FileSink final : public spdlog::sinks::stdout_sink_base<spdlog::details::console_mutex> {
 public:
  FileSink(std::FILE* file, LogFormat format, std::shared_ptr<spdlog::details::thread_pool> queue)
      : stdout_sink_base(file), format_(format), queue_(std::move(queue)) {}

  void log(const spdlog::details::log_msg& message) override {
    const size_t dropped = queue_->overrun_counter();
    if (dropped > told_) {
      const auto lines = static_cast<int64_t>(dropped - told_);
      told_ = dropped;
      stdout_sink_base::log(MessageOf(message, lines));
    }
    stdout_sink_base::log(message);
    ++written_;
  }
  size_t finished() const { return written_ + queue_->overrun_counter(); }

 private:
  // Formatted by the same pattern as all others.
  spdlog::details::log_msg MessageOf(const spdlog::details::log_msg& next, int64_t lines);

  const LogFormat format_;
  const std::shared_ptr<spdlog::details::thread_pool> queue_;
  std::string text_;
  size_t told_ = 0;
  std::atomic<size_t> written_{0};
};

struct OpenedLog {
  LogFormat format;
  std::shared_ptr<spdlog::details::thread_pool> queue;
  std::shared_ptr<FileSink> sink;
  std::shared_ptr<spdlog::logger> logger;
  std::atomic<size_t> accepted{0};
};

// Never destroyed: threads may log until the process ends, and its thread may wait for the file.
OpenedLog* opened_log = nullptr;

nlohmann::ordered_json JsonValue(const LogField& field) {
  return std::visit(
      [](auto value) -> nlohmann::ordered_json {
        if constexpr (std::is_same_v<decltype(value), std::string_view>) {
          return std::string(value);
        } else {
          return value;
        }
      },
      field.value);
}

std::string Dump(const nlohmann::ordered_json& json) {
  // A byte that is no UTF-8 becomes U+FFFD instead of an exception.
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string JsonLine(std::string_view message, std::initializer_list<LogField> fields) {
  nlohmann::ordered_json line;
  line["message"] = std::string(message);
  for (const LogField& field : fields) line[std::string(field.key)] = JsonValue(field);
  return Dump(line).substr(1);  // the pattern has written "{" with time and level
}

std::string TextLine(std::string_view message, std::initializer_list<LogField> fields) {
  std::string line(message);
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    // Quoted and escaped unless plain, so that a value can neither break the line nor fake a field.
    const auto* text = std::get_if<std::string_view>(&field.value);
    const bool plain = text != nullptr && !text->empty() &&
                       std::all_of(text->begin(), text->end(), [](unsigned char c) {
                         return c > 0x20 && c < 0x7f && c != '"' && c != '=' && c != '\\';
                       });
    line += plain ? std::string(*text) : Dump(JsonValue(field));
  }
  return line;
}

spdlog::details::log_msg FileSink::MessageOf(const spdlog::details::log_msg& next, int64_t lines) {
  constexpr std::string_view kMessage = "log lines were dropped because nobody read them";
  text_ = format_ == LogFormat::kJson ? JsonLine(kMessage, {{"count", lines}})
                                      : TextLine(kMessage, {{"count", lines}});
  return {next.time, next.source, next.logger_name, spdlog::level::warn, text_};
}

}  // namespace

LogLevel LogLevelByName(std::string_view name) {
  for (const auto& [level_name, level] : kLevels) {
    if (level_name == name) return level;
  }
  return LogLevel::kInfo;
}

LogFormat LogFormatByName(std::string_view name) {
  return name == "json" ? LogFormat::kJson : LogFormat::kText;
}

void OpenLog(LogLevel level, LogFormat format, std::FILE* file) {
  auto opened = std::make_unique<OpenedLog>();
  opened->format = format;
  opened->queue = std::make_shared<spdlog::details::thread_pool>(kMaxWaitingLogLines, 1);
  opened->sink = std::make_shared<FileSink>(file, format, opened->queue);
  opened->logger = std::make_shared<spdlog::async_logger>(
      "tightfit", opened->sink, opened->queue, spdlog::async_overflow_policy::overrun_oldest);
  opened->logger->set_level(SpdlogLevel(level));
  opened->logger->set_pattern(format == LogFormat::kJson
                                  ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v)"
                                  : "%Y-%m-%dT%H:%M:%S.%eZ %l %v",
                              spdlog::pattern_time_type::utc);
  FlushLog(kReopenLimit);
  delete std::exchange(opened_log, opened.release());
}

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  if (opened_log == nullptr) return;
  const spdlog::level::level_enum spdlog_level = SpdlogLevel(level);
  if (!opened_log->logger->should_log(spdlog_level)) return;
  ++opened_log->accepted;
  opened_log->logger->log(spdlog_level, opened_log->format == LogFormat::kJson
                                            ? JsonLine(message, fields)
                                            : TextLine(message, fields));
}

bool FlushLog(std::chrono::milliseconds limit) {
  if (opened_log == nullptr) return true;
  const size_t accepted = opened_log->accepted;
  const auto end = std::chrono::steady_clock::now() + limit;
  while (opened_log->sink->finished() < accepted) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(kFlushInterval);
  }
  return true;
}

}  // namespace tightfit
