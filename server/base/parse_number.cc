#include "server/base/parse_number.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <system_error>

namespace tightfit {
namespace {

// A command line may hold a megabyte, and control characters; an error message is one line.
std::string Shown(std::string_view text) {
  constexpr size_t kMaxBytes = 40;
  std::string shown;
  for (const char c : text.substr(0, kMaxBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte >= 0x7F ? '?' : c;
  }
  return text.size() > kMaxBytes ? shown + "..." : shown;
}

std::string Quoted(std::string_view text) { return '"' + Shown(text) + '"'; }

// "must be from 1 to 5", or "must be 1 or more" where there is no upper limit to tell.
std::string RangeWords(const std::string& low, const std::string& high, bool has_high) {
  return has_high ? "must be from " + low + " to " + high : "must be " + low + " or more";
}

bool IsWritten(std::string_view text) {
  const std::string_view digits = text.substr(text.starts_with('-') ? 1 : 0);
  const char first = digits.empty() ? '\0' : digits.front();
  // from_chars reads "inf" and "nan" too.
  return (first >= '0' && first <= '9') || first == '.';
}

}  // namespace

Result<int64_t> ParseInteger(std::string_view text, int64_t low, int64_t high) {
  int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || stop != end || error == std::errc::invalid_argument) {
    return InvalidArgument("must be a whole number, not " + Quoted(text));
  }
  if (error == std::errc() && value == 0 && text.front() == '-') {
    return InvalidArgument("must not be a negative zero; write 0");
  }
  using Int32 = std::numeric_limits<int32_t>;
  using Int64 = std::numeric_limits<int64_t>;
  const bool has_low = low != Int32::min() && low != Int64::min();
  const bool has_high = high != Int32::max() && high != Int64::max();
  if (error == std::errc::result_out_of_range || value < low || value > high) {
    const bool is_below = text.front() == '-' || (error == std::errc() && value < low);
    if (is_below ? !has_low : !has_high) {
      return InvalidArgument(Shown(text) + (is_below ? " is too small" : " is too large"));
    }
    return InvalidArgument(RangeWords(std::to_string(low), std::to_string(high), has_high) +
                           ", not " + Shown(text));
  }
  return value;
}

Result<double> ParseFraction(std::string_view text, double low, double high) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || stop != end || error == std::errc::invalid_argument) {
    return InvalidArgument("must be a number, not " + Quoted(text));
  }
  if (!IsWritten(text)) return InvalidArgument("must be a finite number, not " + Quoted(text));
  if (error == std::errc::result_out_of_range) {
    return InvalidArgument(Quoted(text) + " is too large or too small to be used");
  }
  if (const Status status = CheckFraction(value, low, high); !status.ok()) return status;
  return value;
}

Status CheckFraction(double value, double low, double high) {
  constexpr double kUnlimited = std::numeric_limits<float>::max();
  const bool has_low = low > -kUnlimited;
  const bool has_high = high < kUnlimited;
  if (!std::isfinite(value) && !has_low && !has_high) {
    return InvalidArgument("must be a finite number, not " + FractionText(value));
  }
  if (value == 0 && std::signbit(value)) {
    return InvalidArgument("must not be a negative zero; write 0");
  }
  // Written so that NaN is refused.
  if (std::isfinite(value) && value >= low && value <= high) return OkStatus();
  if (has_low || has_high) {
    return InvalidArgument(RangeWords(FractionText(low), FractionText(high), has_high) + ", not " +
                           FractionText(value));
  }
  return InvalidArgument(FractionText(value) + (value < low ? " is too small" : " is too large"));
}

std::string FractionText(double value) {
  char text[32];
  // Whole numbers up to 2^53 in full, fractions as short as they go.
  if (std::nearbyint(value) == value && std::abs(value) < 9.0e15) {
    std::snprintf(text, sizeof(text), "%.0f", value);
  } else {
    std::snprintf(text, sizeof(text), "%g", value);
  }
  return text;
}

}  // namespace tightfit
