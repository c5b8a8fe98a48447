// tightfit.v1.ImageGenerationService on gRPC's callback API.
#ifndef TIGHTFIT_SERVER_RPC_IMAGE_GENERATION_SERVICE_H_
#define TIGHTFIT_SERVER_RPC_IMAGE_GENERATION_SERVICE_H_

#include "server/rpc/bounded_handler.h"
#include "server/rpc/call_access.h"
#include "server/rpc/call_record.h"
#include "server/rpc/estimate_images.h"
#include "server/rpc/generate_images_call.h"
#include "server/rpc/generation_call.h"
#include "server/rpc/status_mapping.h"
#include "server/rpc/stream_images_call.h"

#include <tightfit/v1/image_generation.grpc.pb.h>

namespace tightfit {

// Thread-safe. `context` must outlive the service and its calls.
class ImageGenerationServiceImpl final : public v1::ImageGenerationService::CallbackService {
 public:
  explicit ImageGenerationServiceImpl(const CallContext* context) : context_(context) {
    Bound("StreamImages", &ImageGenerationServiceImpl::StreamImages);
    Bound("GenerateImages", &ImageGenerationServiceImpl::GenerateImages);
    Bound("EstimateImages", &ImageGenerationServiceImpl::EstimateImages);
  }

  grpc::ServerWriteReactor<v1::StreamImagesResponse>* StreamImages(
      grpc::CallbackServerContext* rpc, const v1::StreamImagesRequest* request) override {
    return StreamImagesCall::Start(context_, rpc, request);
  }

  grpc::ServerUnaryReactor* GenerateImages(grpc::CallbackServerContext* rpc,
                                           const v1::GenerateImagesRequest* request,
                                           v1::GenerateImagesResponse* response) override {
    return GenerateImagesCall::Start(context_, rpc, request, response);
  }

  grpc::ServerUnaryReactor* EstimateImages(grpc::CallbackServerContext* rpc,
                                           const v1::EstimateImagesRequest* request,
                                           v1::EstimateImagesResponse* response) override {
    CallRecord record(context_->observer, context_->clock, "EstimateImages",
                      ModelLabel(request->parameters(), *context_->registry));
    Status status = record.Admit(
        CheckAccess(context_->access, *rpc, "/tightfit.v1.ImageGenerationService/EstimateImages"));
    if (status.ok()) status = tightfit::EstimateImages(*context_, *request, response);
    record.Finish(status);
    grpc::ServerUnaryReactor* const reactor = rpc->DefaultReactor();
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }

 private:
  template <typename Method>
  void Bound(const char* name, Method method) {
    MarkMethodCallback(MethodIndex(v1::ImageGenerationService::service_full_name(), name),
                       MakeBoundedHandler(context_, name, this, method));
  }

  const CallContext* const context_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_IMAGE_GENERATION_SERVICE_H_
