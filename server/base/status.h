// Status and Result<T>: how every layer inside the server reports failure. No code of ours throws.
//
// A Status carries two texts. `message` is for the client: what was wrong, the limit, what to do;
// never a path, a pointer or an exception text. `detail` is for the operator's log and is never
// sent.
#ifndef TIGHTFIT_SERVER_BASE_STATUS_H_
#define TIGHTFIT_SERVER_BASE_STATUS_H_

#include <chrono>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace tightfit {

// Values equal gRPC's status codes, so that the mapping at the boundary is a cast that a test
// checks.
enum class StatusCode {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// One request field that was refused, by its protobuf field path (`image_count`), and why.
struct FieldViolation {
  std::string field;
  std::string description;
};

class [[nodiscard]] Status {
 public:
  Status() = default;  // OK
  Status(StatusCode code, std::string reason, std::string message)
      : code_(code), reason_(std::move(reason)), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  // UPPER_SNAKE_CASE, stable, at most 63 characters: google.rpc.ErrorInfo.reason.
  const std::string& reason() const { return reason_; }
  const std::string& message() const { return message_; }
  const std::string& detail() const { return detail_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::vector<FieldViolation>& field_violations() const { return field_violations_; }
  std::optional<std::chrono::milliseconds> retry_after() const { return retry_after_; }

  Status WithDetail(std::string detail) && {
    detail_ = std::move(detail);
    return std::move(*this);
  }
  Status WithMetadata(std::string key, std::string value) && {
    metadata_.insert_or_assign(std::move(key), std::move(value));
    return std::move(*this);
  }
  Status WithFieldViolations(std::vector<FieldViolation> violations) && {
    field_violations_ = std::move(violations);
    return std::move(*this);
  }
  Status WithRetryAfter(std::chrono::milliseconds delay) && {
    retry_after_ = delay;
    return std::move(*this);
  }
  // The text for an operator: message, then detail in brackets where there is one.
  std::string ForLog() const {
    return detail_.empty() ? message_ : message_ + " [" + detail_ + "]";
  }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string reason_;
  std::string message_;
  std::string detail_;
  std::map<std::string, std::string> metadata_;
  std::vector<FieldViolation> field_violations_;
  std::optional<std::chrono::milliseconds> retry_after_;
};

inline Status OkStatus() { return Status(); }

inline Status InvalidArgument(std::string message) {
  return {StatusCode::kInvalidArgument, "INVALID_PARAMETER", std::move(message)};
}
inline Status Internal(std::string message, std::string detail = {}) {
  return Status(StatusCode::kInternal, "INTERNAL", std::move(message))
      .WithDetail(std::move(detail));
}

// A value or the reason why there is none. Reading the value of a failed Result ends the process.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}        // NOLINT: implicit by design
  Result(Status status) : state_(std::move(status)) {  // NOLINT: implicit by design
    if (std::get<Status>(state_).ok()) {
      state_ = Internal("an OK status was used as an error");
    }
  }

  bool ok() const { return std::holds_alternative<T>(state_); }
  Status status() const { return ok() ? OkStatus() : std::get<Status>(state_); }

  T& value() & {
    if (!ok()) std::abort();
    return std::get<T>(state_);
  }
  const T& value() const& {
    if (!ok()) std::abort();
    return std::get<T>(state_);
  }
  T&& value() && {
    if (!ok()) std::abort();
    return std::get<T>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace tightfit

// Returns the status of `expression` from the enclosing function unless it is OK.
#define TF_RETURN_IF_ERROR(expression)                                                  \
  do {                                                                                  \
    if (::tightfit::Status tf_status = (expression); !tf_status.ok()) return tf_status; \
  } while (false)

#define TF_CONCAT_INNER(a, b) a##b
#define TF_CONCAT(a, b) TF_CONCAT_INNER(a, b)
#define TF_ASSIGN_OR_RETURN_INNER(result, declaration, expression) \
  auto result = (expression);                                      \
  if (!result.ok()) return result.status();                        \
  declaration = std::move(result).value()
// TF_ASSIGN_OR_RETURN(auto x, Expression()): declares x with the value or returns the status.
#define TF_ASSIGN_OR_RETURN(declaration, expression) \
  TF_ASSIGN_OR_RETURN_INNER(TF_CONCAT(tf_result_, __LINE__), declaration, expression)

#endif  // TIGHTFIT_SERVER_BASE_STATUS_H_
