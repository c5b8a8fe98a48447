#include "server/telemetry/logging.h"

#include <nlohmann/json.hpp>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
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

struct OpenedLog {
  LogFormat format;
  std::shared_ptr<spdlog::logger> logger;
};

// Never destroyed: threads may log until the process ends.
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
  using Sink = spdlog::sinks::stdout_sink_base<spdlog::details::console_mutex>;
  struct FileSink final : Sink {
    explicit FileSink(std::FILE* target) : Sink(target) {}
  };
  auto logger = std::make_shared<spdlog::logger>("tightfit", std::make_shared<FileSink>(file));
  logger->set_level(SpdlogLevel(level));
  logger->flush_on(spdlog::level::trace);
  logger->set_pattern(format == LogFormat::kJson
                          ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v)"
                          : "%Y-%m-%dT%H:%M:%S.%eZ %l %v",
                      spdlog::pattern_time_type::utc);
  delete std::exchange(opened_log, new OpenedLog{format, std::move(logger)});
}

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  if (opened_log == nullptr) return;
  const spdlog::level::level_enum spdlog_level = SpdlogLevel(level);
  if (!opened_log->logger->should_log(spdlog_level)) return;
  opened_log->logger->log(spdlog_level, opened_log->format == LogFormat::kJson
                                            ? JsonLine(message, fields)
                                            : TextLine(message, fields));
}

}  // namespace tightfit
