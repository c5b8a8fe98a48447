// tightfit.v1.ImageGenerationService on gRPC's callback API.
#ifndef TIGHTFIT_SERVER_RPC_IMAGE_GENERATION_SERVICE_H_
#define TIGHTFIT_SERVER_RPC_IMAGE_GENERATION_SERVICE_H_

#include "server/rpc/bounded_handler.h"
#include "server/rpc/call_context.h"
#include "server/rpc/estimate_images.h"
#include "server/rpc/generate_images_call.h"
#include "server/rpc/model_label.h"
#include "server/rpc/stream_images_call.h"
#include "server/rpc/unary_call.h"

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
    return UnaryCall(
        *context_, rpc, *request, ModelLabel(request->parameters(), *context_->registry),
        [&](const EndCall& end) { tightfit::EstimateImages(*context_, *request, response, end); });
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
