#include "server/engine/model_residency.h"

#include "server/engine/guarded_call.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr char kLoadFailed[] = "the model could not be loaded";

}  // namespace

ModelResidency::ModelResidency(ModelRegistry* registry, ModelLoader load, ModelDescriber describe,
                               DeviceLedger* ledger, const Clock* clock, ExecutorObserver* observer)
    : registry_(registry),
      load_(std::move(load)),
      describe_(std::move(describe)),
      ledger_(ledger),
      clock_(clock),
      observer_(observer) {}

Status ModelResidency::Describe(const ModelSpec& spec) {
  if (!describe_) return OkStatus();
  Result<ModelDescription> described = Guarded(kLoadFailed, [&] { return describe_(spec); });
  if (described.ok()) {
    registry_->SetDescribed(spec.name, std::move(described).value());
    return OkStatus();
  }
  registry_->SetFailed(spec.name, described.status());
  observer_->OnLoaded(spec.name, described.status(), {});
  return described.status();
}

RoomPlan ModelResidency::Plan(const std::string& model, int64_t request_bytes) const {
  return PlanRoom(registry_->List(), model, request_bytes,
                  {.limit_bytes = ledger_->limit_bytes(),
                   .free_bytes = ledger_->free_bytes(),
                   .decode_scratch_bytes = decode_scratch_bytes_});
}

bool ModelResidency::MakeRoom(const std::string& model, const RoomPlan& plan,
                              MemoryReservation* activations) {
  for (const std::string& other : plan.evictions) {
    if (!Evict(other, "evicted for " + model)) return false;
  }
  const auto reserve = [&](MemoryPurpose purpose, int64_t bytes) {
    return ledger_->Reserve(model, purpose, bytes).value_or(MemoryReservation());
  };
  if (plan.needs_load) {
    HoldWeights(model);
    load_scratch_[model] = reserve(MemoryPurpose::kScratch, plan.load_scratch_bytes);
  }
  *activations = reserve(MemoryPurpose::kActivations, plan.request_bytes);
  return true;
}

bool ModelResidency::HasRoomFor(const std::string& model) const {
  return std::ranges::any_of(
      groups_, [&](const auto& group) { return group.second.models.contains(model); });
}

void ModelResidency::HoldWeights(const std::string& model) {
  const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
  if (!snapshot.has_value() || snapshot->description == nullptr) return;
  for (const WeightGroup& group : snapshot->description->memory.weights) {
    HeldGroup& held = groups_[group.content];
    if (held.models.empty()) {
      held.reservation = ledger_->Reserve(group.content, MemoryPurpose::kWeights, group.bytes)
                             .value_or(MemoryReservation());
    }
    held.models.insert(model);
  }
}

bool ModelResidency::CommitWeights(const ModelMemory& memory) {
  for (const WeightGroup& group : memory.weights) {
    const auto held = groups_.find(group.content);
    if (held == groups_.end()) continue;
    if (!held->second.reservation.Resize(group.bytes) &&
        group.bytes > held->second.reservation.bytes()) {
      return false;
    }
  }
  return true;
}

void ModelResidency::LetGoOfWeights(const std::string& model) {
  for (auto& [content, group] : groups_) group.models.erase(model);
  std::erase_if(groups_, [](const auto& entry) { return entry.second.models.empty(); });
}

Status ModelResidency::Bring(const std::string& model, const std::string& reason,
                             const std::function<void(const LoadProgress&)>& progress) {
  std::optional<ModelSnapshot> snapshot = registry_->Find(model);
  if (!snapshot.has_value()) return ModelNotFound(model);
  if (snapshot->state == ModelState::kResident) return OkStatus();
  if (!HasRoomFor(model)) {
    if (snapshot->description == nullptr) {
      TF_RETURN_IF_ERROR(Describe(snapshot->spec));
      snapshot = registry_->Find(model);
    }
    MemoryReservation nothing;
    TF_RETURN_IF_ERROR(PlanAndMakeRoom(model, 0, &nothing));
  }
  return Load(*snapshot, reason, progress);
}

Status ModelResidency::SetAside(const std::string& model, int64_t bytes,
                                MemoryReservation* activations) {
  if (bytes <= activations->bytes()) return OkStatus();
  activations->Release();
  return PlanAndMakeRoom(model, bytes, activations);
}

Status ModelResidency::PlanAndMakeRoom(const std::string& model, int64_t request_bytes,
                                       MemoryReservation* activations) {
  while (true) {
    const RoomPlan plan = Plan(model, request_bytes);
    if (plan.room != Room::kNow) return RefusalOf(plan, ledger_->limit_bytes());
    if (MakeRoom(model, plan, activations)) return OkStatus();
  }
}

Status ModelResidency::Load(const ModelSnapshot& snapshot, const std::string& reason,
                            const std::function<void(const LoadProgress&)>& progress) {
  const std::string& model = snapshot.spec.name;
  const Clock::time_point before = clock_->Now();
  registry_->SetLoading(model, {}, reason);
  Result<std::unique_ptr<DiffusionModel>> loaded = Guarded(kLoadFailed, [&] {
    return load_(snapshot.spec, [&](const LoadProgress& done) {
      registry_->SetLoading(model, done);
      if (progress) progress(done);
    });
  });
  load_scratch_.erase(model);
  KeepDecodeScratch(snapshot.description.get());
  Status status = loaded.status();
  if (loaded.ok()) {
    if (!CommitWeights((*loaded)->description().memory)) {
      status = Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                      "the model's weights take more memory than is free");
      loaded = status;
    }
  }
  if (loaded.ok()) {
    registry_->CountRunning(model, 0, clock_->Now());
    registry_->SetResident(model, std::move(loaded).value());
  } else {
    LetGoOfWeights(model);
    if (status.code() == StatusCode::kResourceExhausted) {
      registry_->SetUnloaded(model, "out of memory");
    } else {
      registry_->SetFailed(model, status);
    }
  }
  observer_->OnLoaded(model, status, clock_->Now() - before);
  return status;
}

void ModelResidency::KeepDecodeScratch(const ModelDescription* description) {
  const int64_t bytes = description != nullptr ? description->memory.decode_scratch_bytes : 0;
  if (bytes <= decode_scratch_.bytes()) return;
  if (!decode_scratch_.Resize(bytes)) {
    std::optional<MemoryReservation> first = ledger_->Reserve("", MemoryPurpose::kScratch, bytes);
    if (first.has_value()) decode_scratch_ = std::move(*first);
  }
  decode_scratch_bytes_ = decode_scratch_.bytes();
}

void ModelResidency::ForgetUnloaded(const std::string& model) {
  if (registry_->Resident(model) != nullptr) return;
  LetGoOfWeights(model);
  load_scratch_.erase(model);
}

bool ModelResidency::Evict(const std::string& model, const std::string& reason, Pins pins) {
  if (!registry_->SetEvicting(model, reason, pins)) return false;
  registry_->SetUnloaded(model, reason);
  LetGoOfWeights(model);
  observer_->OnEvicted(model, reason);
  return true;
}

std::optional<Clock::time_point> ModelResidency::EvictIdle(const std::set<std::string>& wanted) {
  std::optional<Clock::time_point> next;
  for (const ModelSnapshot& model : registry_->List()) {
    if (model.state != ModelState::kResident || model.policy.keep_alive.count() == 0 ||
        model.policy.pinned || model.running_count > 0 || !model.last_used.has_value() ||
        wanted.contains(model.spec.name)) {
      continue;
    }
    const Clock::time_point due = *model.last_used + model.policy.keep_alive;
    if (due <= clock_->Now()) {
      Evict(model.spec.name, "idle");
    } else if (!next.has_value() || due < *next) {
      next = due;
    }
  }
  return next;
}

}  // namespace tightfit
