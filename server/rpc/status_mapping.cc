#include "server/rpc/status_mapping.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <algorithm>
#include <chrono>
#include <string>

namespace tightfit {
namespace {

constexpr char kModelResourceType[] = "tightfit.v1.Model";

// At most `max_bytes`, cut between two UTF-8 characters.
std::string Cut(const std::string& text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

google::rpc::BadRequest MakeBadRequest(const std::vector<FieldViolation>& violations) {
  google::rpc::BadRequest bad_request;
  const size_t count = std::min(violations.size(), kMaxFieldViolations);
  for (size_t i = 0; i < count; ++i) {
    auto* added = bad_request.add_field_violations();
    added->set_field(violations[i].field);
    added->set_description(violations[i].description);
  }
  return bad_request;
}

google::rpc::RetryInfo MakeRetryInfo(std::chrono::milliseconds delay) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(delay / std::chrono::seconds(1));
  retry.mutable_retry_delay()->set_nanos(
      static_cast<int32_t>(std::chrono::nanoseconds(delay % std::chrono::seconds(1)).count()));
  return retry;
}

}  // namespace

grpc::Status ToGrpcStatus(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(status.code());
  const std::string message = Cut(status.message(), kMaxErrorMessageBytes);

  google::rpc::Status rich;
  rich.set_code(code);
  rich.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(status.reason());
  info.set_domain(kErrorDomain);
  for (const auto& [key, value] : status.metadata()) (*info.mutable_metadata())[key] = value;
  rich.add_details()->PackFrom(info);
  if (!status.field_violations().empty()) {
    rich.add_details()->PackFrom(MakeBadRequest(status.field_violations()));
  }
  if (status.retry_after().has_value()) {
    rich.add_details()->PackFrom(MakeRetryInfo(*status.retry_after()));
  }
  const auto model = status.metadata().find("model");
  if (status.code() == StatusCode::kNotFound && model != status.metadata().end()) {
    google::rpc::ResourceInfo resource;
    resource.set_resource_type(kModelResourceType);
    resource.set_resource_name(model->second);
    resource.set_description(message);
    rich.add_details()->PackFrom(resource);
  }
  return {code, message, rich.SerializeAsString()};
}

}  // namespace tightfit
