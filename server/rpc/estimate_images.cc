#include "server/rpc/estimate_images.h"

#include "server/rpc/generation_messages.h"
#include "server/rpc/image_inputs.h"
#include "server/rpc/request_validator.h"

#include <string>

namespace tightfit {
namespace {

v1::EstimateImagesResponse::Admission AdmissionMessage(Admission admission) {
  switch (admission) {
    case Admission::kNow:
      return v1::EstimateImagesResponse::ADMISSION_NOW;
    case Admission::kLater:
      return v1::EstimateImagesResponse::ADMISSION_LATER;
    case Admission::kNever:
      return v1::EstimateImagesResponse::ADMISSION_NEVER;
  }
  return v1::EstimateImagesResponse::ADMISSION_UNSPECIFIED;
}

Status Estimate(const CallContext& context, const v1::EstimateImagesRequest& request,
                v1::EstimateImagesResponse* response) {
  TF_ASSIGN_OR_RETURN(const AcceptedRequest accepted,
                      ValidateRequest(request, context.limits, *context.registry));
  const RequestEstimate estimate = context.executor->Estimate(accepted.parameters);
  *response->mutable_parameters() = ToMessage(accepted.parameters, *accepted.model);
  AddWarnings(accepted.warnings, response->mutable_warnings());
  response->set_admission(AdmissionMessage(estimate.plan.admission));
  response->set_weight_bytes(estimate.plan.weight_bytes);
  response->set_load_scratch_bytes(estimate.plan.load_scratch_bytes);
  response->set_denoise_bytes(estimate.memory.denoise_bytes);
  response->set_decode_bytes(estimate.memory.decode_bytes);
  response->set_request_bytes(estimate.memory.peak_bytes());
  response->set_is_measured(estimate.memory.is_measured);
  response->set_free_bytes(estimate.plan.free_bytes);
  response->set_evictable_bytes(estimate.plan.evictable_bytes);
  response->set_limit_bytes(estimate.limit_bytes);
  for (const std::string& model : estimate.plan.evictions) response->add_evicted_models(model);
  *response->mutable_expected_wait_duration() = ToMessage(estimate.expected_wait);
  return OkStatus();
}

}  // namespace

void EstimateImages(const CallContext& context, const v1::EstimateImagesRequest& request,
                    v1::EstimateImagesResponse* response, const EndCall& end) {
  const int64_t input_bytes = InputImageBytes(request.parameters());
  if (input_bytes == 0) return end(Estimate(context, request, response));
  if (!context.image_bytes->TryTake(input_bytes, context.limits.max_undelivered_image_bytes)) {
    return end(ImagesUndelivered());
  }
  const auto finish = [budget = context.image_bytes, input_bytes, end](const Status& status) {
    budget->GiveBack(input_bytes);
    end(status);
  };
  const auto estimate = [&context, &request, response] {
    return Estimate(context, request, response);
  };
  const Status posted =
      context.decode_queue->Post([estimate, finish] { finish(ResultOrFailure(estimate)); });
  if (!posted.ok()) finish(posted);
}

}  // namespace tightfit
