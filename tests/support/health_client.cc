#include "tests/support/health_client.h"

#include <grpcpp/client_context.h>

#include <future>
#include <utility>
#include <vector>

namespace tightfit {

grpc::ByteBuffer HealthCheckRequest(const std::string& service) {
  // message HealthCheckRequest { string service = 1; }
  std::string message;
  if (!service.empty()) {
    message = "\x0a";
    message += static_cast<char>(service.size());
    message += service;
  }
  const grpc::Slice slice(message);
  return grpc::ByteBuffer(&slice, 1);
}

std::string HealthClient::Check(const std::string& service) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  const grpc::ByteBuffer request = HealthCheckRequest(service);
  grpc::ByteBuffer response;
  std::promise<grpc::Status> done;
  stub_.UnaryCall(&context, "/grpc.health.v1.Health/Check", {}, &request, &response,
                  [&](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  if (!status.ok()) {
    switch (status.error_code()) {
      case grpc::StatusCode::NOT_FOUND:
        return "NOT_FOUND";
      case grpc::StatusCode::UNAVAILABLE:
        return "UNAVAILABLE";
      default:
        return "error " + std::to_string(status.error_code());
    }
  }
  // message HealthCheckResponse { ServingStatus status = 1; }
  std::string bytes;
  std::vector<grpc::Slice> slices;
  (void)response.Dump(&slices);
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  if (bytes == std::string("\x08\x01")) return "SERVING";
  if (bytes == std::string("\x08\x02")) return "NOT_SERVING";
  return "UNKNOWN";
}

}  // namespace tightfit
