#include "server/rpc/generate_images_call.h"

#include "server/rpc/status_mapping.h"

#include <utility>

namespace tightfit {

grpc::ServerUnaryReactor* GenerateImagesCall::Start(const CallContext* call_context,
                                                    grpc::CallbackServerContext* rpc,
                                                    const v1::GenerateImagesRequest* request,
                                                    v1::GenerateImagesResponse* response) {
  auto call = std::make_shared<GenerateImagesCall>(call_context, rpc, *request, response);
  call->self_ = call;
  call->AdmitAndSubmit(*rpc, *request);
  // gRPC calls OnDone, which may drop the last reference, only after it was given the reactor.
  return call.get();
}

GenerateImagesCall::GenerateImagesCall(const CallContext* call_context,
                                       grpc::CallbackServerContext* rpc,
                                       const v1::GenerateImagesRequest& request,
                                       v1::GenerateImagesResponse* response)
    : GenerationCall(call_context, request, rpc->deadline()), response_(response) {}

void GenerateImagesCall::ReportImage(EncodedImage image) {
  v1::GeneratedImage& added = *response_->add_images();
  *added.mutable_metadata() = MetadataOf(image);
  added.set_content(std::move(image.content));
}

void GenerateImagesCall::ReportEnd(const Status& status) {
  if (finish_called_) return;
  end_ = status;
  if (!status.ok()) return;
  response_->set_request_id(accepted().parameters.request_id);
  *response_->mutable_parameters() = ToMessage(accepted().parameters, *accepted().model);
  *response_->mutable_timings() = TimingsMessage();
  AddPromptTokens(response_->mutable_prompt_tokens());
  AddWarnings(accepted().warnings, response_->mutable_warnings());
}

void GenerateImagesCall::DropUnsent() {
  // After Finish the reply belongs to gRPC.
  if (!finish_called_) response_->Clear();
}

void GenerateImagesCall::Flush() {
  Status status;
  {
    const std::lock_guard lock(mutex_);
    if (!end_.has_value() || finish_called_) return;
    finish_called_ = true;
    status = *end_;
  }
  Finish(ToGrpcStatus(status));
}

void GenerateImagesCall::OnCancel() { AbandonByClient(); }

void GenerateImagesCall::OnDone() {
  record().Finish(*end_);
  self_.reset();
}

}  // namespace tightfit
