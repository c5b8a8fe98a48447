#include "client/cli/error_report.h"

#include "client/cli/exit_code.h"
#include "client/cli/flag_names.h"
#include "client/cli/measure_text.h"
#include "client/cpp/generation_client.h"

#include <fmt/format.h>

#include <array>

namespace tightfit::cli {

std::string ErrorLines(const Status& status, const TextStyle& style) {
  const std::string prefix = style.Paint("error:", Colour::kRed) + " ";
  std::string lines;
  for (const FieldViolation& violation : status.field_violations()) {
    lines +=
        prefix + Printable(WithFlagNames(violation.field + ": " + violation.description)) + "\n";
  }
  if (!lines.empty()) return lines;

  std::string line = status.message();
  if (line.empty()) line = "the call failed with " + CodeName(status.code());
  if (status.reason() == client::kCannotConnect) {
    line += "; is tightfit-server running there? (--server, TIGHTFIT_SERVER)";
  } else if (status.reason() == client::kNotGrpc) {
    line += " (--server, TIGHTFIT_SERVER)";
  } else if (status.reason() == client::kTlsFailed || status.reason() == client::kBadCredentials) {
    line += " (--tls-ca, --tls-cert, --tls-key)";
  } else if (status.code() == StatusCode::kUnauthenticated) {
    line += " (--token-file FILE or TIGHTFIT_TOKEN)";
  } else if (status.retry_after().has_value()) {
    line += "; try again in " + DurationText(*status.retry_after());
  }
  const std::string& reason = status.reason();
  line += " [" + (reason.empty() ? CodeName(status.code()) : reason) + "]";
  return prefix + Printable(line) + "\n";
}

int ExitCodeOf(const Status& status) {
  if (status.reason() == client::kBadCredentials) return kExitUsage;
  const bool connected = status.reason() != client::kCannotConnect &&
                         status.reason() != client::kTlsFailed &&
                         status.reason() != client::kNotGrpc;
  return connected ? kExitFailed : kExitCannotConnect;
}

std::string CodeName(StatusCode code) {
  static constexpr std::array kNames = {"OK",
                                        "CANCELLED",
                                        "UNKNOWN",
                                        "INVALID_ARGUMENT",
                                        "DEADLINE_EXCEEDED",
                                        "NOT_FOUND",
                                        "ALREADY_EXISTS",
                                        "PERMISSION_DENIED",
                                        "RESOURCE_EXHAUSTED",
                                        "FAILED_PRECONDITION",
                                        "ABORTED",
                                        "OUT_OF_RANGE",
                                        "UNIMPLEMENTED",
                                        "INTERNAL",
                                        "UNAVAILABLE",
                                        "DATA_LOSS",
                                        "UNAUTHENTICATED"};
  const size_t index = static_cast<size_t>(code);
  return index < kNames.size() ? kNames[index] : "UNKNOWN";
}

}  // namespace tightfit::cli
