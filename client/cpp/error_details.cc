#include "client/cpp/error_details.h"

#include "client/cpp/message_conversion.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tightfit::client {
namespace {

StatusCode CodeFromGrpc(grpc::StatusCode code) {
  // Status has no OUT_OF_RANGE; nothing in the contract returns it.
  if (code < 0 || code > 16 || code == grpc::StatusCode::OUT_OF_RANGE) return StatusCode::kUnknown;
  return static_cast<StatusCode>(code);
}

}  // namespace

Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return OkStatus();

  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) rich.Clear();
  std::string reason;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::vector<FieldViolation> violations;
  std::optional<std::chrono::milliseconds> retry_after;
  for (const google::protobuf::Any& any : rich.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    google::rpc::RetryInfo retry;
    google::rpc::ResourceInfo resource;
    if (any.UnpackTo(&info)) {
      reason = info.reason();
      for (const auto& [key, value] : info.metadata()) metadata.emplace_back(key, value);
    } else if (any.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) {
        violations.push_back({violation.field(), violation.description()});
      }
    } else if (any.UnpackTo(&retry) && retry.has_retry_delay()) {
      retry_after = std::chrono::duration_cast<std::chrono::milliseconds>(
          DurationFromMessage(retry.retry_delay()));
    } else if (any.UnpackTo(&resource)) {
      metadata.emplace_back("resource_type", resource.resource_type());
      metadata.emplace_back("resource_name", resource.resource_name());
    }
  }

  Status decoded(CodeFromGrpc(status.error_code()), std::move(reason), status.error_message());
  for (auto& [key, value] : metadata) {
    decoded = std::move(decoded).WithMetadata(std::move(key), std::move(value));
  }
  decoded = std::move(decoded).WithFieldViolations(std::move(violations));
  if (retry_after.has_value()) decoded = std::move(decoded).WithRetryAfter(*retry_after);
  return decoded;
}

}  // namespace tightfit::client
