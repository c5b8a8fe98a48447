// The log: one line per event on standard error, as text or as JSON. Never a prompt: what is logged
// are names, codes, sizes and times.
#ifndef TIGHTFIT_SERVER_TELEMETRY_LOGGING_H_
#define TIGHTFIT_SERVER_TELEMETRY_LOGGING_H_

#include "server/base/status.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace tightfit {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat {
  kText,  // 2026-11-23T10:11:12.345Z info model loaded model=sdxl seconds=3.2
  kJson,  // {"time":"...","level":"info","message":"model loaded","model":"sdxl","seconds":3.2}
};

// "debug", "info", "warning", "error"; what configuration has checked.
LogLevel LogLevelByName(std::string_view name);
LogFormat LogFormatByName(std::string_view name);

// A named value of a line.
struct LogField {
  std::string_view key;  // snake_case with its unit: "queue_seconds", "size_bytes"
  std::variant<std::string_view, int64_t, double, bool> value;
};

// Lines that may wait for a file that takes none, such as a pipe that nobody reads. Beyond it the
// oldest are dropped, and the next line that is written says how many.
inline constexpr size_t kMaxWaitingLogLines = 4096;

// Opens the process's log and the thread that writes it; before that, Log() does nothing. Call
// once, before other threads exist. `file` (stderr) must stay open.
void OpenLog(LogLevel level, LogFormat format, std::FILE* file);

// Thread-safe; never waits for the file. Each line is written whole and flushed.
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

// Waits until the lines of earlier calls are written or dropped. Returns false if `limit` passes
// before. Call before the process ends.
bool FlushLog(std::chrono::milliseconds limit);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_TELEMETRY_LOGGING_H_
