#include "server/rpc/model_messages.h"

#include "server/base/component_formats.h"
#include "server/engine/model_memory.h"
#include "server/memory/memory_accounts.h"
#include "server/rpc/generation_messages.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string>

namespace tightfit {
namespace {

v1::Model::State ToMessage(ModelState state) {
  switch (state) {
    case ModelState::kUnloaded:
      return v1::Model::STATE_UNLOADED;
    case ModelState::kLoading:
      return v1::Model::STATE_LOADING;
    case ModelState::kResident:
      return v1::Model::STATE_RESIDENT;
    case ModelState::kEvicting:
      return v1::Model::STATE_EVICTING;
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
    if (component.layers != nullptr) {
      for (const LayerDescription& layer : *component.layers) {
        v1::Layer& added = *message.add_layers();
        added.set_module(layer.module);
        added.set_format(layer.format);
        added.set_parameter_count(layer.parameter_count);
        added.set_weight_bytes(layer.weight_bytes);
      }
    }
  }
  return message;
}

void AddMemory(const ModelSnapshot& model, const std::vector<ModelSnapshot>& models,
               v1::Model& message) {
  for (const ComponentMemory& use : MemoryOf(model, models)) {
    auto* components = message.mutable_components();
    auto component =
        std::find_if(components->begin(), components->end(),
                     [&](const v1::Component& c) { return c.name() == use.component; });
    if (component == components->end()) {
      // What a request needed on demand is no part of the model, but it is there.
      if (use.purpose != MemoryPurpose::kWeights || use.current_bytes == 0) continue;
      v1::Component& on_demand = *message.add_components();
      on_demand.set_name(use.component);
      on_demand.set_format(kUnpackedFormat);
      on_demand.set_weight_bytes(use.current_bytes);
      component = std::prev(components->end());
    }
    v1::PurposeBytes& bytes = *component->add_memory();
    bytes.set_purpose(std::string(MemoryPurposeName(use.purpose)));
    bytes.set_current_bytes(use.current_bytes);
    bytes.set_peak_bytes(use.peak_bytes);
  }
}

void Describe(const ModelDescription& model, v1::Model& message) {
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
  defaults.set_timestep_spacing(model.default_timestep_spacing);
  for (const std::string& sampler : model.samplers) message.add_samplers(sampler);
  message.set_pixels_per_latent(model.pixels_per_latent);
  message.set_max_clip_skip(model.max_clip_skip);
  message.set_vae_tile_px(model.vae_tile_px);
  message.set_takes_init_image(model.takes_init_image);
  message.set_weight_bytes(model.memory.weight_bytes());
}

void AddComponents(const ModelDescription& model, bool with_modules, v1::Model& message) {
  for (const ComponentDescription& component : model.components) {
    *message.add_components() = ToMessage(component, with_modules);
  }
  *message.mutable_load_duration() =
      tightfit::ToMessage(std::chrono::duration_cast<std::chrono::nanoseconds>(
          std::chrono::duration<double>(model.load_seconds)));
}

// Which of the weights other models on the device hold too.
void AddSharing(const ModelSnapshot& model, const std::vector<ModelSnapshot>& models,
                v1::Model& message) {
  int64_t shared_bytes = 0;
  for (const WeightGroup& group : model.description->memory.weights) {
    const int32_t holders = HolderCount(group.content_key, models);
    if (holders > 1) shared_bytes += group.bytes;
    for (v1::Component& component : *message.mutable_components()) {
      if (component.name() == group.component) component.set_holder_count(holders);
    }
  }
  message.set_shared_weight_bytes(shared_bytes);
}

void DescribeResidency(const ModelSnapshot& snapshot, v1::Model& message) {
  message.set_state_reason(snapshot.state_reason);
  message.set_pinned(snapshot.policy.pinned);
  *message.mutable_keep_alive_duration() = tightfit::ToMessage(snapshot.policy.keep_alive);
  message.set_priority(snapshot.policy.priority);
  message.set_running_request_count(snapshot.running_count);
  if (snapshot.last_used_time.has_value()) {
    *message.mutable_last_used_time() = ToMessage(*snapshot.last_used_time);
  }
}

}  // namespace

v1::Model ToMessage(const ModelSnapshot& snapshot, const std::vector<ModelSnapshot>& models,
                    bool with_modules) {
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
  DescribeResidency(snapshot, message);
  if (snapshot.description == nullptr) return message;
  message.set_format(snapshot.description->format);
  Describe(*snapshot.description, message);
  message.set_host_cached_bytes(HostCachedBytes(snapshot));
  if (snapshot.state == ModelState::kResident) {
    AddComponents(*snapshot.description, with_modules, message);
    AddMemory(snapshot, models, message);
    AddSharing(snapshot, models, message);
  }
  return message;
}

}  // namespace tightfit
