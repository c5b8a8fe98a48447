// ParseInteger, ParseFraction: the one way in which flags and settings read numbers.
#ifndef TIGHTFIT_SERVER_BASE_PARSE_NUMBER_H_
#define TIGHTFIT_SERVER_BASE_PARSE_NUMBER_H_

#include "server/base/status.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace tightfit {

// Decimal digits with an optional minus sign, from `low` to `high`. INVALID_ARGUMENT, with the text
// and what was expected, for everything else: blanks, a plus sign, 0x10, 1e3, -0.
Result<int64_t> ParseInteger(std::string_view text, int64_t low, int64_t high);

// A decimal number from `low` to `high`, with an exponent if need be. INVALID_ARGUMENT, with the
// text and what was expected, for everything else: nan, inf, 0x1p3, -0.0, and what a double cannot
// hold.
Result<double> ParseFraction(std::string_view text, double low, double high);

// What keeps `value` from being used as a number from `low` to `high`: NaN, an infinity, negative
// zero, or out of range. OK where nothing does.
Status CheckFraction(double value, double low, double high);

// As short as it goes, whole numbers up to 2^53 in full.
std::string FractionText(double value);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_PARSE_NUMBER_H_
