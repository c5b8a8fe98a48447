// Options that take numbers: the same way to read and to refuse them in every program.
#ifndef TIGHTFIT_CLIENT_CLI_NUMBER_FLAGS_H_
#define TIGHTFIT_CLIENT_CLI_NUMBER_FLAGS_H_

#include "server/base/parse_number.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace tightfit::cli {

// The value of `result`, or a CLI::ValidationError that names `flag`.
template <typename T>
T ValueOrThrow(const std::string& flag, const Result<T>& result) {
  if (!result.ok()) throw CLI::ValidationError(flag, result.status().message());
  return *result;
}

// As ParseInteger, for what `Integer` holds unless the limits are narrower.
template <typename Integer>
Integer IntegerOrThrow(const std::string& flag, std::string_view text,
                       int64_t low = std::numeric_limits<Integer>::min(),
                       int64_t high = std::numeric_limits<Integer>::max()) {
  return static_cast<Integer>(ValueOrThrow(flag, ParseInteger(text, low, high)));
}

template <typename T>
struct NumberOf {
  using Type = T;
};
template <typename T>
struct NumberOf<std::optional<T>> {
  using Type = T;
};

// CLI11's own conversions take nan, inf, 0x1p3 and -0.0, read "010" as octal, and do not see that
// 64 bits overflow. `target` is a number or an optional one, and must outlive the parsing.
template <typename Target>
CLI::Option* AddInteger(
    CLI::App* command, const std::string& flag, Target* target, const std::string& description,
    int64_t low = std::numeric_limits<typename NumberOf<Target>::Type>::min(),
    int64_t high = std::numeric_limits<typename NumberOf<Target>::Type>::max()) {
  using Integer = typename NumberOf<Target>::Type;
  return command->add_option_function<std::string>(
      flag,
      [flag, target, low, high](const std::string& text) {
        *target = IntegerOrThrow<Integer>(flag, text, low, high);
      },
      description);
}

// As AddInteger, for numbers with fractions.
template <typename Target>
CLI::Option* AddFraction(
    CLI::App* command, const std::string& flag, Target* target, const std::string& description,
    double low = std::numeric_limits<typename NumberOf<Target>::Type>::lowest(),
    double high = std::numeric_limits<typename NumberOf<Target>::Type>::max()) {
  using Fraction = typename NumberOf<Target>::Type;
  return command->add_option_function<std::string>(
      flag,
      [flag, target, low, high](const std::string& text) {
        const double value = ValueOrThrow(flag, ParseFraction(text, low, high));
        *target = static_cast<Fraction>(value);
        if (value != 0.0 && static_cast<Fraction>(value) == Fraction{0}) {
          throw CLI::ValidationError(flag, "is too close to 0; write 0 if that is meant");
        }
      },
      description);
}

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_NUMBER_FLAGS_H_
