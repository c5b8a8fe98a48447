#include "server/rpc/model_service.h"

#include "server/memory/memory_accounts.h"
#include "server/rpc/call_record.h"
#include "server/rpc/generation_messages.h"
#include "server/rpc/status_mapping.h"
#include "server/rpc/unknown_fields.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr int32_t kMaxPageSize = 1000;

v1::Model::State ToMessage(ModelState state) {
  switch (state) {
    case ModelState::kUnloaded:
      return v1::Model::STATE_UNLOADED;
    case ModelState::kLoading:
      return v1::Model::STATE_LOADING;
    case ModelState::kResident:
      return v1::Model::STATE_RESIDENT;
    case ModelState::kFailed:
      return v1::Model::STATE_FAILED;
  }
  return v1::Model::STATE_UNSPECIFIED;
}

google::protobuf::Timestamp ToMessage(std::chrono::system_clock::time_point time) {
  const auto since_epoch =
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch());
  google::protobuf::Timestamp message;
  message.set_seconds(since_epoch / std::chrono::seconds(1));
  message.set_nanos(static_cast<int32_t>((since_epoch % std::chrono::seconds(1)).count()));
  return message;
}

v1::Component ToMessage(const ComponentDescription& component, bool with_modules) {
  v1::Component message;
  message.set_name(component.name);
  message.set_format(component.format);
  message.set_parameter_count(component.parameter_count);
  message.set_fp16_bytes(component.fp16_bytes);
  message.set_weight_bytes(component.weight_bytes);
  message.set_packed_bytes(component.packed_bytes);
  message.set_packed_parameter_count(component.packed_parameter_count);
  message.set_packed_module_count(component.packed_module_count);
  if (with_modules) {
    for (const UnpackedModule& module : component.unpacked_modules) {
      v1::ModuleLeft& left = *message.add_modules_left();
      left.set_module(module.module);
      left.set_reason(module.reason);
    }
  }
  return message;
}

void AddMemory(const std::string& model, v1::Model& message) {
  for (const MemoryUse& use : MemoryAccounts::Instance().Snapshot(model)) {
    auto* components = message.mutable_components();
    const auto component =
        std::find_if(components->begin(), components->end(),
                     [&](const v1::Component& c) { return c.name() == use.component; });
    if (component == components->end()) continue;
    v1::PurposeBytes& bytes = *component->add_memory();
    bytes.set_purpose(std::string(MemoryPurposeName(use.purpose)));
    bytes.set_current_bytes(use.current_bytes);
    bytes.set_peak_bytes(use.peak_bytes);
  }
}

void Describe(const ModelDescription& model, bool with_modules, v1::Model& message) {
  message.set_format(model.format);
  message.set_scope(model.scope);
  message.set_compute_dtype(model.compute_dtype);
  message.set_device(model.device);
  message.set_family(model.family);
  message.set_hash(model.hash);
  message.set_license(model.license);
  v1::Model::Defaults& defaults = *message.mutable_defaults();
  defaults.set_width_px(model.default_width_px);
  defaults.set_height_px(model.default_height_px);
  defaults.set_step_count(model.default_step_count);
  defaults.set_guidance_scale(model.default_guidance_scale);
  defaults.set_sampler(model.default_sampler);
  for (const std::string& sampler : model.samplers) message.add_samplers(sampler);
  message.set_pixels_per_latent(model.pixels_per_latent);
  message.set_max_clip_skip(model.max_clip_skip);
  message.set_vae_tile_px(model.vae_tile_px);
  for (const ComponentDescription& component : model.components) {
    *message.add_components() = ToMessage(component, with_modules);
  }
  *message.mutable_load_duration() =
      tightfit::ToMessage(std::chrono::duration_cast<std::chrono::nanoseconds>(
          std::chrono::duration<double>(model.load_seconds)));
}

v1::Model ToMessage(const ModelSnapshot& snapshot, bool with_modules) {
  v1::Model message;
  message.set_name(snapshot.spec.name);
  message.set_state(ToMessage(snapshot.state));
  *message.mutable_state_time() = ToMessage(snapshot.state_since);
  if (snapshot.state == ModelState::kFailed) {
    message.set_failure_reason(snapshot.failure.reason());
    message.set_failure_message(snapshot.failure.message());
  }
  if (snapshot.loading.has_value()) {
    message.set_loaded_bytes(snapshot.loading->bytes_done);
    message.set_total_bytes(snapshot.loading->bytes_total);
  }
  message.set_format(snapshot.spec.format);
  message.set_scope(snapshot.spec.scope);
  if (snapshot.description != nullptr) {
    Describe(*snapshot.description, with_modules, message);
    AddMemory(snapshot.spec.name, message);
  }
  return message;
}

// A token is the index of the first model of its page.
std::optional<size_t> ParsePageToken(const std::string& token, size_t model_count) {
  if (token.empty()) return 0;
  size_t index = 0;
  const char* const end = token.data() + token.size();
  const auto [parsed, error] = std::from_chars(token.data(), end, index);
  if (error != std::errc() || parsed != end) return std::nullopt;
  if (index == 0 || index >= model_count || std::to_string(index) != token) return std::nullopt;
  return index;
}

}  // namespace

Status ModelServiceImpl::List(const v1::ListModelsRequest& request,
                              v1::ListModelsResponse& response) const {
  const std::vector<ModelSnapshot> models = context_->registry->List();
  std::vector<FieldViolation> violations = UnknownFields(request);
  if (request.page_size() < 0 || request.page_size() > kMaxPageSize) {
    violations.push_back({"page_size", "must be from 0 to " + std::to_string(kMaxPageSize)});
  }
  const std::optional<size_t> first = ParsePageToken(request.page_token(), models.size());
  if (!first.has_value()) {
    violations.push_back({"page_token", "must be the next_page_token of the page before"});
  }
  TF_RETURN_IF_ERROR(RefuseIfAny(std::move(violations)));

  const size_t page_size = request.page_size() == 0 ? kMaxPageSize : request.page_size();
  const size_t end = std::min(models.size(), *first + page_size);
  for (size_t i = *first; i < end; ++i) {
    *response.add_models() = ToMessage(models[i], /*with_modules=*/false);
  }
  if (end < models.size()) response.set_next_page_token(std::to_string(end));
  return OkStatus();
}

Status ModelServiceImpl::Get(const v1::GetModelRequest& request,
                             v1::GetModelResponse& response) const {
  std::vector<FieldViolation> violations = UnknownFields(request);
  if (request.name().empty()) violations.push_back({"name", "is required"});
  TF_RETURN_IF_ERROR(RefuseIfAny(std::move(violations)));
  const std::optional<ModelSnapshot> snapshot = context_->registry->Find(request.name());
  if (!snapshot.has_value()) return ModelNotFound(request.name());
  *response.mutable_model() = ToMessage(*snapshot, /*with_modules=*/true);
  return OkStatus();
}

grpc::ServerUnaryReactor* ModelServiceImpl::ListModels(grpc::CallbackServerContext* rpc,
                                                       const v1::ListModelsRequest* request,
                                                       v1::ListModelsResponse* response) {
  CallRecord record(context_->observer, context_->clock, "ListModels", "");
  const Status status = List(*request, *response);
  record.Finish(status);
  grpc::ServerUnaryReactor* const reactor = rpc->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerUnaryReactor* ModelServiceImpl::GetModel(grpc::CallbackServerContext* rpc,
                                                     const v1::GetModelRequest* request,
                                                     v1::GetModelResponse* response) {
  const bool known = context_->registry->Find(request->name()).has_value();
  CallRecord record(context_->observer, context_->clock, "GetModel",
                    known ? request->name() : "unknown");
  const Status status = Get(*request, *response);
  record.Finish(status);
  grpc::ServerUnaryReactor* const reactor = rpc->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace tightfit
