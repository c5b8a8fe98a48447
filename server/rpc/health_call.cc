#include "server/rpc/health_call.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/generic_stub.h>

#include <future>
#include <memory>
#include <utility>

namespace tightfit {
namespace {

// All that a call needs until it ends, which may be after nobody waits for it any more.
struct HealthCall {
  explicit HealthCall(std::shared_ptr<grpc::Channel> channel) : stub(std::move(channel)) {}

  grpc::GenericStub stub;
  grpc::ClientContext context;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
  std::promise<grpc::Status> ended;
};

bool IsAnswer(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:
      return false;
    default:
      return true;
  }
}

Status NoAnswer(std::string detail) {
  return Status(StatusCode::kUnavailable, "NO_ANSWER", "the own port does not answer")
      .WithDetail(std::move(detail));
}

}  // namespace

Status CallHealth(FileDescriptor connection, std::chrono::milliseconds patience) {
  constexpr std::chrono::seconds kGrace{1};
  const auto call = std::make_shared<HealthCall>(
      grpc::CreateInsecureChannelFromFd("own port", connection.Release()));
  call->context.set_deadline(std::chrono::system_clock::now() + patience);
  // HealthCheckRequest for the service "".
  const grpc::Slice nothing;
  call->request = grpc::ByteBuffer(&nothing, 1);
  std::future<grpc::Status> ended = call->ended.get_future();
  call->stub.UnaryCall(&call->context, "/grpc.health.v1.Health/Check", {}, &call->request,
                       &call->response,
                       [call](grpc::Status status) { call->ended.set_value(std::move(status)); });
  if (ended.wait_for(patience + kGrace) != std::future_status::ready) {
    return NoAnswer("gRPC does not end the call");
  }
  const grpc::Status status = ended.get();
  return IsAnswer(status) ? OkStatus() : NoAnswer(status.error_message());
}

}  // namespace tightfit
