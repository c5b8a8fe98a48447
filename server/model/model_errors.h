// The statuses of everything that can be wrong with a model directory. Texts name files relative to
// the directory, so they may be sent to clients.
#ifndef TIGHTFIT_SERVER_MODEL_MODEL_ERRORS_H_
#define TIGHTFIT_SERVER_MODEL_MODEL_ERRORS_H_

#include "server/base/status.h"

#include <string>
#include <string_view>

namespace tightfit {

// Names and keys come from files: of what a message quotes only printable ASCII is shown, and
// not all of a long text.
inline std::string Shown(std::string_view text, size_t max_bytes = 80) {
  std::string shown;
  for (const char c : text.substr(0, max_bytes)) shown.push_back(c >= ' ' && c <= '~' ? c : '?');
  return text.size() > max_bytes ? shown + "..." : shown;
}

// FAILED_PRECONDITION `BAD_MODEL_DIRECTORY`: "FILE: PROBLEM".
inline Status BadModelDirectory(std::string_view file, std::string_view problem) {
  constexpr size_t kMaxProblemBytes = 240;
  return {StatusCode::kFailedPrecondition, "BAD_MODEL_DIRECTORY",
          std::string(file) + ": " + Shown(problem, kMaxProblemBytes)};
}

// FAILED_PRECONDITION `FORBIDDEN_OPERATOR`: `name` is the operator, function or pickled global.
inline Status ForbiddenOperator(std::string_view file, std::string_view name) {
  return Status(StatusCode::kFailedPrecondition, "FORBIDDEN_OPERATOR",
                std::string(file) + ": the graph uses " + Shown(name, 200) +
                    ", which is not on the list of allowed operators")
      .WithMetadata("operator", Shown(name, 200));
}

// DATA_LOSS `FILE_MISSING`; `detail` holds the path and what the system said.
inline Status FileMissing(std::string_view file, std::string detail) {
  return Status(StatusCode::kDataLoss, "FILE_MISSING",
                std::string(file) + ": the file cannot be read")
      .WithDetail(std::move(detail));
}

// DATA_LOSS `FILE_TRUNCATED`: the file has another size than model.json or its own header says.
inline Status FileTruncated(std::string_view file, std::string_view problem) {
  return {StatusCode::kDataLoss, "FILE_TRUNCATED", std::string(file) + ": " + std::string(problem)};
}

// DATA_LOSS `CHECKSUM_MISMATCH`.
inline Status ChecksumMismatch(std::string_view file, const std::string& expected,
                               const std::string& found) {
  return Status(StatusCode::kDataLoss, "CHECKSUM_MISMATCH",
                std::string(file) + ": its SHA-256 is not the one of model.json")
      .WithDetail("expected " + expected + ", found " + found);
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_MODEL_ERRORS_H_
