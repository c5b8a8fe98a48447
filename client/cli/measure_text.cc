#include "client/cli/measure_text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

namespace tightfit::cli {

std::string BytesText(int64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (bytes < 1024) return fmt::format("{} B", bytes);
  // Compared after rounding, so that "1024.0 KiB" never appears.
  if (value / (1 << 10) < 1023.95) return fmt::format("{:.1f} KiB", value / (1 << 10));
  if (value / (1 << 20) < 9999.95) return fmt::format("{:.1f} MiB", value / (1 << 20));
  return fmt::format("{:.1f} GiB", value / (1 << 30));
}

std::string DurationText(std::chrono::nanoseconds duration) {
  const double seconds = std::max(0.0, std::chrono::duration<double>(duration).count());
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const int64_t whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string StepTimeText(std::chrono::nanoseconds per_step) {
  const double seconds = std::chrono::duration<double>(per_step).count();
  if (seconds < 0.0995) return fmt::format("{:.0f} ms/step", seconds * 1e3);
  if (seconds < 9.995) return fmt::format("{:.2f} s/step", seconds);
  return fmt::format("{:.1f} s/step", seconds);
}

std::string SavedText(int64_t bytes, int64_t reference_bytes) {
  if (reference_bytes <= 0) return "-";
  const double share =
      100.0 * static_cast<double>(reference_bytes - bytes) / static_cast<double>(reference_bytes);
  // What is written as nothing has no sign.
  return fmt::format("{:.1f} %", std::abs(share) < 0.05 ? 0.0 : share);
}

std::string CountText(int64_t count) {
  const std::string digits = fmt::format("{}", count);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    const bool starts_group = (digits.size() - i) % 3 == 0;
    if (starts_group && i > 0 && digits[i - 1] != '-') text += ',';
    text += digits[i];
  }
  return text;
}

std::string TimeText(std::chrono::system_clock::time_point time) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

std::string CountedText(int64_t count, const std::string& singular) {
  return fmt::format("{} {}{}", count, singular, count == 1 ? "" : "s");
}

}  // namespace tightfit::cli
