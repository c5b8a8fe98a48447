#include "server/rpc/server_service.h"

#include "server/rpc/mime_types.h"
#include "server/rpc/status_mapping.h"
#include "server/rpc/unary_call.h"
#include "server/rpc/unknown_fields.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

namespace tightfit {

template <typename Request, typename Response>
grpc::ServerUnaryReactor* ServerServiceImpl::Answer(grpc::CallbackServerContext* rpc,
                                                    const Request& request,
                                                    Response& response) const {
  return UnaryCall(*context_, rpc, request, "", [&](const EndCall& end) {
    const Status status = RefuseIfAny(UnknownFields(request));
    if (status.ok()) Describe(response);
    end(status);
  });
}

void ServerServiceImpl::Describe(v1::GetServerInfoResponse& response) const {
  response.set_version(info_.version);
  response.set_build_commit(info_.build_commit);
  response.set_libtorch_version(info_.libtorch_version);
  const auto started =
      std::chrono::duration_cast<std::chrono::nanoseconds>(info_.start_time.time_since_epoch());
  response.mutable_start_time()->set_seconds(started / std::chrono::seconds(1));
  response.mutable_start_time()->set_nanos(
      static_cast<int32_t>((started % std::chrono::seconds(1)).count()));
  const DeviceMemory memory = info_.device_memory ? info_.device_memory() : DeviceMemory{};
  v1::Device& device = *response.mutable_device();
  device.set_name(info_.device_name);
  device.set_description(info_.device_description);
  device.set_total_bytes(memory.total_bytes);
  device.set_used_bytes(memory.used_bytes);
  device.set_attributed_bytes(memory.attributed_bytes);
  device.set_unattributed_bytes(memory.used_bytes - memory.attributed_bytes);
  device.set_host_cache_bytes(memory.host_cache_bytes);
  device.set_limit_bytes(context_->executor->limit_bytes());
  device.set_reserved_bytes(context_->executor->reserved_bytes());
  response.set_queued_request_count(context_->executor->queued_count());
  response.set_running_request_count(context_->executor->running_count());
}

void ServerServiceImpl::Describe(v1::GetCapabilitiesResponse& response) const {
  const Limits& limits = context_->limits;
  response.set_min_side_px(limits.min_side_px);
  response.set_max_side_px(limits.max_side_px);
  response.set_max_area_px(limits.max_area_px);
  response.set_max_image_count(limits.max_image_count);
  response.set_max_step_count(limits.max_step_count);
  response.set_max_guidance_scale(limits.max_guidance_scale);
  response.set_max_prompt_bytes(limits.max_prompt_bytes);
  response.set_max_pixel_steps(limits.max_pixel_steps);
  response.set_max_unary_reply_bytes(limits.max_unary_reply_bytes);
  response.set_max_queued_requests(limits.max_queued_requests);
  response.set_max_input_image_bytes(limits.max_input_image_bytes);
  response.set_max_input_image_px(limits.max_input_image_px);
  std::vector<std::string> samplers = info_.samplers;
  for (const ModelSnapshot& model : context_->registry->List()) {
    if (model.description == nullptr) continue;
    for (const std::string& sampler : model.description->samplers) {
      if (std::ranges::find(samplers, sampler) == samplers.end()) samplers.push_back(sampler);
    }
  }
  for (const std::string& sampler : samplers) response.add_samplers(sampler);
  response.add_mime_types(kPngMimeType);
  response.add_mime_types(kLatentsMimeType);
  for (const WeightFormatSummary& format : info_.formats) {
    v1::WeightFormat& added = *response.add_formats();
    added.set_name(format.name);
    added.set_bits_per_weight(format.bits_per_weight);
    added.set_max_value(format.max_value);
  }
  for (const std::string& scope : info_.scopes) response.add_scopes(scope);
}

grpc::ServerUnaryReactor* ServerServiceImpl::GetServerInfo(grpc::CallbackServerContext* rpc,
                                                           const v1::GetServerInfoRequest* request,
                                                           v1::GetServerInfoResponse* response) {
  return Answer(rpc, *request, *response);
}

grpc::ServerUnaryReactor* ServerServiceImpl::GetCapabilities(
    grpc::CallbackServerContext* rpc, const v1::GetCapabilitiesRequest* request,
    v1::GetCapabilitiesResponse* response) {
  return Answer(rpc, *request, *response);
}

}  // namespace tightfit
