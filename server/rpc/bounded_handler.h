// Handlers for gRPC that look at a message's bytes before they are parsed: gRPC's memory quota does
// not count what a message becomes, and an unreadable message would end in a code without a reason.
#ifndef TIGHTFIT_SERVER_RPC_BOUNDED_HANDLER_H_
#define TIGHTFIT_SERVER_RPC_BOUNDED_HANDLER_H_

#include "server/rpc/call_context.h"
#include "server/rpc/call_record.h"
#include "server/rpc/message_scan.h"
#include "server/rpc/status_mapping.h"

#include <grpc/byte_buffer.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>
#include <utility>

namespace tightfit {

// `request` as a message of `type`.
MessageScan ScanByteBuffer(grpc_byte_buffer* request, const google::protobuf::Descriptor& type,
                           int64_t max_fields);

Status MalformedMessage();
Status TooManyFields(int64_t max_fields);

// The index of `method` in `service`, a full name, as generated services count.
int MethodIndex(const char* service, const char* method);

// `Handler`: gRPC's own, for requests of the type `Request`. It gives what was read to `accept` and
// has `refuse` end calls whose message was not.
template <typename Request, typename Handler>
class BoundedHandler final : public grpc::internal::MethodHandler {
 public:
  BoundedHandler(std::unique_ptr<Handler> accept, std::unique_ptr<Handler> refuse_malformed,
                 std::unique_ptr<Handler> refuse_large, int64_t max_fields)
      : accept_(std::move(accept)),
        refuse_malformed_(std::move(refuse_malformed)),
        refuse_large_(std::move(refuse_large)),
        max_fields_(max_fields) {}

  void* Deserialize(grpc_call* call, grpc_byte_buffer* bytes, grpc::Status* status,
                    void** handler_data) override {
    const MessageScan scan = ScanByteBuffer(bytes, *Request::descriptor(), max_fields_);
    if (scan == MessageScan::kOk) {
      void* const request = accept_->Deserialize(call, bytes, status, handler_data);
      // A text that is no UTF-8. Handlers of unary calls keep a request in `handler_data` then.
      if (request != nullptr || *handler_data != nullptr) return request;
    } else {
      grpc_byte_buffer_destroy(bytes);
    }
    grpc_byte_buffer* const nothing = grpc_raw_byte_buffer_create(nullptr, 0);
    void* const request = accept_->Deserialize(call, nothing, status, handler_data);
    const bool large = scan == MessageScan::kTooManyFields;
    *status = grpc::Status(
        large ? grpc::StatusCode::RESOURCE_EXHAUSTED : grpc::StatusCode::INVALID_ARGUMENT, "");
    return request;
  }

  void RunHandler(const HandlerParameter& parameter) override {
    if (parameter.status.ok()) return accept_->RunHandler(parameter);
    const bool large = parameter.status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
    (large ? refuse_large_ : refuse_malformed_)
        ->RunHandler({parameter.call, parameter.server_context, parameter.request, grpc::Status::OK,
                      parameter.internal_data, parameter.call_requester});
  }

 private:
  const std::unique_ptr<Handler> accept_;
  const std::unique_ptr<Handler> refuse_malformed_;
  const std::unique_ptr<Handler> refuse_large_;
  const int64_t max_fields_;
};

// Tells the observer of a call whose message was refused, and gives what the client sees.
inline grpc::Status RecordRefusal(const CallContext* context, const char* method,
                                  const Status& status) {
  CallRecord(context->observer, context->clock, method, "unknown").Finish(status);
  return ToGrpcStatus(status);
}

// A handler for a unary method of `service`, to be owned by gRPC.
template <typename Service, typename Request, typename Response>
grpc::internal::MethodHandler* MakeBoundedHandler(
    const CallContext* context, const char* name, Service* service,
    grpc::ServerUnaryReactor* (Service::*method)(grpc::CallbackServerContext*, const Request*,
                                                 Response*)) {
  using Handler = grpc::internal::CallbackUnaryHandler<Request, Response>;
  const auto refuse = [&](const Status& status) {
    return std::make_unique<Handler>(
        [=](grpc::CallbackServerContext* rpc, const Request*, Response*) {
          grpc::ServerUnaryReactor* const reactor = rpc->DefaultReactor();
          reactor->Finish(RecordRefusal(context, name, status));
          return reactor;
        });
  };
  return new BoundedHandler<Request, Handler>(
      std::make_unique<Handler>(
          [=](grpc::CallbackServerContext* rpc, const Request* request, Response* response) {
            return (service->*method)(rpc, request, response);
          }),
      refuse(MalformedMessage()), refuse(TooManyFields(context->limits.max_message_fields)),
      context->limits.max_message_fields);
}

// Ends a stream that did not begin.
template <typename Response>
class RefusedStream final : public grpc::ServerWriteReactor<Response> {
 public:
  explicit RefusedStream(const grpc::Status& status) { this->Finish(status); }
  void OnDone() override { delete this; }
};

// The same for a method that answers with a stream.
template <typename Service, typename Request, typename Response>
grpc::internal::MethodHandler* MakeBoundedHandler(
    const CallContext* context, const char* name, Service* service,
    grpc::ServerWriteReactor<Response>* (Service::*method)(grpc::CallbackServerContext*,
                                                           const Request*)) {
  using Handler = grpc::internal::CallbackServerStreamingHandler<Request, Response>;
  const auto refuse = [&](const Status& status) {
    return std::make_unique<Handler>([=](grpc::CallbackServerContext*, const Request*) {
      return new RefusedStream<Response>(RecordRefusal(context, name, status));
    });
  };
  return new BoundedHandler<Request, Handler>(
      std::make_unique<Handler>([=](grpc::CallbackServerContext* rpc, const Request* request) {
        return (service->*method)(rpc, request);
      }),
      refuse(MalformedMessage()), refuse(TooManyFields(context->limits.max_message_fields)),
      context->limits.max_message_fields);
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_BOUNDED_HANDLER_H_
