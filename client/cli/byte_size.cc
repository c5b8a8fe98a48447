#include "client/cli/byte_size.h"

#include "client/cli/measure_text.h"
#include "server/base/parse_number.h"

#include <string_view>

namespace tightfit::cli {
namespace {

struct ByteUnit {
  std::string_view name;
  double bytes;
};
constexpr ByteUnit kByteUnits[] = {{"MiB", 1 << 20}, {"GiB", 1 << 30}, {"MB", 1e6}, {"GB", 1e9}};

}  // namespace

Result<int64_t> ParseByteSize(const std::string& text, int64_t low_bytes, int64_t high_bytes) {
  for (const ByteUnit& unit : kByteUnits) {
    if (!text.ends_with(unit.name)) continue;
    const std::string number = text.substr(0, text.size() - unit.name.size());
    const Result<double> value = ParseFraction(number, 0.0, 1e12);
    if (!value.ok()) break;
    const double bytes = *value * unit.bytes;
    if (bytes < static_cast<double>(low_bytes) || bytes > static_cast<double>(high_bytes)) {
      return InvalidArgument("must be from " + BytesText(low_bytes) + " to " +
                             BytesText(high_bytes));
    }
    return static_cast<int64_t>(bytes);
  }
  return InvalidArgument("is a number with MiB, GiB, MB or GB behind it, as 1900MiB");
}

}  // namespace tightfit::cli
