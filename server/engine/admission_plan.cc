#include "server/engine/admission_plan.h"

#include "server/base/mib_text.h"
#include "server/memory/eviction_order.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <utility>

namespace tightfit {
namespace {

constexpr std::chrono::milliseconds kBusyRetry{1000};

bool IsOnDevice(const ModelSnapshot& model) {
  return model.state == ModelState::kResident || model.state == ModelState::kEvicting;
}

bool IsEvictable(const ModelSnapshot& model) {
  return model.state == ModelState::kResident && !model.policy.pinned && model.running_count == 0;
}

using GroupBytes = std::map<std::string, int64_t>;  // by content

void AddWeights(const ModelSnapshot& model, GroupBytes* groups) {
  if (model.description == nullptr) return;
  for (const WeightGroup& group : model.description->memory.weights) {
    (*groups)[group.content_key] = group.bytes;
  }
  const int64_t on_demand_bytes = model.description->memory.held_on_demand_bytes();
  if (on_demand_bytes > 0) (*groups)["on demand of " + model.spec.name] = on_demand_bytes;
}

int64_t SumOf(const GroupBytes& groups) {
  int64_t bytes = 0;
  for (const auto& [content_key, group_bytes] : groups) bytes += group_bytes;
  return bytes;
}

// The models other than the one that needs room, and what they hold together.
class OtherModels {
 public:
  OtherModels(const std::vector<ModelSnapshot>& models, std::string_view model) {
    for (const ModelSnapshot& each : models) {
      if (each.spec.name != model && IsOnDevice(each)) others_.push_back(&each);
    }
  }

  // What stays on the device without `evicted`.
  GroupBytes HeldWithout(const std::vector<std::string>& evicted) const {
    GroupBytes groups;
    for (const ModelSnapshot* const each : others_) {
      if (std::ranges::find(evicted, each->spec.name) == evicted.end()) AddWeights(*each, &groups);
    }
    return groups;
  }

  GroupBytes Pinned() const {
    GroupBytes groups;
    for (const ModelSnapshot* const each : others_) {
      if (each->policy.pinned) AddWeights(*each, &groups);
    }
    return groups;
  }

  std::vector<EvictionCandidate> Candidates() const {
    std::vector<EvictionCandidate> candidates;
    for (const ModelSnapshot* const each : others_) {
      if (!IsEvictable(*each)) continue;
      candidates.push_back(
          {.model = each->spec.name,
           .priority = each->policy.priority,
           .last_used = each->last_used.value_or(std::chrono::steady_clock::time_point::min())});
    }
    return candidates;
  }

 private:
  std::vector<const ModelSnapshot*> others_;
};

}  // namespace

AdmissionPlan PlanAdmission(const std::vector<ModelSnapshot>& models, std::string_view model,
                            int64_t request_bytes, const DeviceBudget& device) {
  AdmissionPlan plan;
  plan.request_bytes = request_bytes;
  plan.free_bytes = device.free_bytes;
  const OtherModels others(models, model);
  GroupBytes own;
  int64_t load_bytes = 0;
  int64_t buffer_bytes = 0;  // for good, of the buffer that all models share
  const auto found = std::ranges::find(
      models, model, [](const ModelSnapshot& each) { return std::string_view(each.spec.name); });
  if (found != models.end() && found->description != nullptr) {
    plan.needs_load = found->state != ModelState::kResident;
    AddWeights(*found, &own);
    if (plan.needs_load) {
      const ModelMemory& memory = found->description->memory;
      load_bytes = memory.load_scratch_bytes;
      buffer_bytes =
          std::max<int64_t>(memory.decode_scratch_bytes - device.decode_scratch_bytes, 0);
      // What is set aside for the request is free until the load is done.
      plan.load_scratch_bytes = buffer_bytes + std::max<int64_t>(load_bytes - request_bytes, 0);
    }
  }

  GroupBytes alone = others.Pinned();
  alone.insert(own.begin(), own.end());
  const int64_t model_bytes = SumOf(alone) + device.decode_scratch_bytes + buffer_bytes;
  if (model_bytes + std::max(load_bytes, request_bytes) > device.limit_bytes) {
    plan.weight_bytes = SumOf(own);
    plan.model_fits = model_bytes + load_bytes <= device.limit_bytes;
    if (!plan.model_fits) plan.load_scratch_bytes = buffer_bytes + load_bytes;
    plan.admission = Admission::kNever;
    return plan;
  }

  const GroupBytes held = others.HeldWithout({});
  // What must be loaded, and what gets free, once `evicted` are gone. A group that leaves with the
  // last of them and is the model's own too has to be loaded again.
  const auto missing_bytes = [&](const GroupBytes& staying) {
    int64_t bytes = 0;
    for (const auto& [content_key, group_bytes] : own) {
      if (plan.needs_load && !staying.contains(content_key)) bytes += group_bytes;
    }
    return bytes;
  };
  const auto freed_bytes = [&](const GroupBytes& staying) {
    int64_t bytes = 0;
    for (const auto& [content_key, group_bytes] : held) {
      const bool is_own_and_resident = !plan.needs_load && own.contains(content_key);
      if (!staying.contains(content_key) && !is_own_and_resident) bytes += group_bytes;
    }
    return bytes;
  };
  std::vector<EvictionCandidate> candidates = others.Candidates();
  std::vector<std::string> all;
  for (const EvictionCandidate& candidate : candidates) all.push_back(candidate.model);
  plan.evictable_bytes = freed_bytes(others.HeldWithout(all));
  auto evictions =
      ChooseEvictions(std::move(candidates), [&](const std::vector<std::string>& evicted) {
        const GroupBytes staying = others.HeldWithout(evicted);
        return device.free_bytes + freed_bytes(staying) >=
               missing_bytes(staying) + plan.load_scratch_bytes + request_bytes;
      });
  if (evictions.has_value()) {
    plan.evictions = std::move(*evictions);
  } else {
    plan.admission = Admission::kLater;
  }
  plan.weight_bytes = missing_bytes(others.HeldWithout(plan.evictions));
  return plan;
}

// As a request for what is missing, on a model that is there with what is set aside for it.
AdmissionPlan PlanGrowth(std::vector<ModelSnapshot> models, std::string_view model,
                         std::vector<WeightGroup> held, int64_t missing_bytes,
                         const DeviceBudget& device) {
  for (ModelSnapshot& each : models) {
    if (each.spec.name != model) continue;
    ModelDescription description;
    description.memory.weights = std::move(held);
    each.state = ModelState::kResident;
    each.description = std::make_shared<const ModelDescription>(std::move(description));
    break;
  }
  AdmissionPlan plan = PlanAdmission(models, model, missing_bytes, device);
  if (plan.admission == Admission::kNever) plan.model_fits = false;
  return plan;
}

Status RefusalOf(const AdmissionPlan& plan, int64_t limit_bytes) {
  if (plan.admission == Admission::kNever) {
    const std::string of_limit =
        " of " + MibText(limit_bytes) + " that the server may use, less what is pinned; ";
    const int64_t model_bytes =
        plan.needs_load ? plan.weight_bytes + plan.load_scratch_bytes : plan.needed_bytes();
    const std::string message =
        plan.model_fits
            ? "the request needs " + MibText(plan.needed_bytes()) + of_limit +
                  "ask for a smaller image or fewer images, or serve the model in a smaller "
                  "format"
            : "the model needs " + MibText(model_bytes) + of_limit +
                  "serve it in a smaller format, raise memory_limit_mib, or unpin another model";
    return Status(StatusCode::kFailedPrecondition, "EXCEEDS_DEVICE_MEMORY", message)
        .WithMetadata("needed_bytes", std::to_string(plan.needed_bytes()))
        .WithMetadata("total_bytes", std::to_string(limit_bytes));
  }
  return Status(StatusCode::kResourceExhausted, "VRAM_BUSY",
                "the device's memory is in use by running requests")
      .WithMetadata("needed_bytes", std::to_string(plan.needed_bytes()))
      .WithMetadata("free_bytes", std::to_string(plan.free_bytes))
      .WithMetadata("evictable_bytes", std::to_string(plan.evictable_bytes))
      .WithRetryAfter(kBusyRetry);
}

}  // namespace tightfit
