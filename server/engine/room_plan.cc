#include "server/engine/room_plan.h"

#include "server/memory/eviction_order.h"

#include <chrono>
#include <utility>

namespace tightfit {
namespace {

constexpr std::chrono::milliseconds kBusyRetry{1000};

bool IsOnDevice(const ModelSnapshot& model) {
  return model.state == ModelState::kResident || model.state == ModelState::kEvicting;
}

int64_t WeightBytes(const ModelSnapshot& model) {
  return model.description != nullptr ? model.description->memory.weight_bytes : 0;
}

std::string Mib(int64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

}  // namespace

RoomPlan PlanRoom(const std::vector<ModelSnapshot>& models, std::string_view model,
                  int64_t request_bytes, int64_t free_bytes, int64_t limit_bytes) {
  RoomPlan plan;
  plan.request_bytes = request_bytes;
  plan.free_bytes = free_bytes;
  std::vector<EvictionCandidate> candidates;
  int64_t pinned_bytes = 0;
  int64_t own_bytes = 0;  // of the model where it is resident already
  for (const ModelSnapshot& each : models) {
    if (each.spec.name == model) {
      plan.needs_load = each.state != ModelState::kResident;
      own_bytes = WeightBytes(each);
      if (!plan.needs_load || each.description == nullptr) continue;
      plan.weight_bytes = own_bytes;
      plan.load_scratch_bytes = each.description->memory.load_scratch_bytes +
                                each.description->memory.decode_scratch_bytes;
      continue;
    }
    if (!IsOnDevice(each)) continue;
    if (each.policy.pinned) {
      pinned_bytes += WeightBytes(each);
      continue;
    }
    if (each.running_count > 0 || each.state != ModelState::kResident) continue;
    candidates.push_back(
        {.model = each.spec.name,
         .bytes = WeightBytes(each),
         .priority = each.policy.priority,
         .last_used = each.last_used.value_or(std::chrono::steady_clock::time_point::min())});
    plan.evictable_bytes += WeightBytes(each);
  }
  const int64_t alone = own_bytes + plan.load_scratch_bytes + request_bytes + pinned_bytes;
  if (alone > limit_bytes) {
    plan.room = Room::kNever;
    return plan;
  }
  auto evictions = ChooseEvictions(std::move(candidates), plan.needed_bytes() - free_bytes);
  if (evictions.has_value()) {
    plan.evictions = std::move(*evictions);
  } else {
    plan.room = Room::kLater;
  }
  return plan;
}

Status RefusalOf(const RoomPlan& plan, int64_t limit_bytes) {
  if (plan.room == Room::kNever) {
    return Status(StatusCode::kFailedPrecondition, "EXCEEDS_DEVICE_MEMORY",
                  "the request needs " + Mib(plan.needed_bytes()) + " of " + Mib(limit_bytes) +
                      " that the server may use, less what is pinned; ask for a smaller picture or "
                      "fewer images, or serve the model in a smaller format")
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
