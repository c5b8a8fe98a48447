#include "server/engine/model_residency.h"

#include "server/engine/guarded_call.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr char kLoadFailed[] = "the model could not be loaded";
// After a look at the files of a failed model so many times as long passes before the next.
constexpr int kLookPause = 20;
constexpr Clock::time_point kUnderWay = Clock::time_point::max();

// A plan counts on what the ledger says, and only one thread follows plans.
Status NotAsPlanned(const std::string& model) {
  return Internal("the request could not be started",
                  "the ledger has less memory than was planned with for " + model);
}

}  // namespace

ModelResidency::ModelResidency(ModelRegistry* registry, ModelLoader load, ModelDescriber describe,
                               DeviceLedger* ledger, const Clock* clock, ExecutorObserver* observer,
                               TaskRunner run_look, std::function<void()> on_look)
    : registry_(registry),
      load_(std::move(load)),
      describe_(std::move(describe)),
      ledger_(ledger),
      clock_(clock),
      observer_(observer),
      looks_(describe_, clock, std::move(run_look), std::move(on_look)) {}

Status ModelResidency::Describe(const ModelSpec& spec) {
  if (!describe_) return OkStatus();
  const Clock::time_point began = clock_->Now();
  Result<ModelDescription> described = Guarded(kLoadFailed, [&] { return describe_(spec); });
  if (described.ok()) {
    registry_->SetDescribed(spec.name, std::move(described).value());
    return OkStatus();
  }
  Fail(spec.name, described.status(), began);
  observer_->OnLoaded(spec.name, described.status(), {});
  return described.status();
}

void ModelResidency::Fail(const std::string& model, const Status& failure,
                          Clock::time_point began) {
  registry_->SetFailed(model, failure);
  if (describe_ && FilesUnread(failure)) {
    LookLater(model, began);
  } else {
    look_at_.erase(model);
  }
}

void ModelResidency::LookLater(const std::string& model, Clock::time_point began) {
  const Clock::time_point now = clock_->Now();
  look_at_[model] = now + std::max<Clock::time_point::duration>(kShortestLookInterval,
                                                                kLookPause * (now - began));
}

void ModelResidency::LookAt(const ModelSpec& spec) {
  if (!describe_) return;
  looks_.Start(spec);
  FinishLooks();
}

void ModelResidency::FinishLooks() {
  for (DirectoryLooks::Found& found : looks_.Take()) {
    const std::optional<ModelSnapshot> snapshot = registry_->Find(found.model);
    // Somebody has loaded it meanwhile.
    if (!snapshot.has_value() || snapshot->state != ModelState::kFailed) continue;
    if (found.description.ok()) {
      look_at_.erase(found.model);
      registry_->SetDescribed(found.model, std::move(found.description).value());
      continue;
    }
    const Status& failure = found.description.status();
    if (snapshot->failure.message() != failure.message()) {
      registry_->SetFailed(found.model, failure);
    }
    // What is being copied may be wrong in any way for a while.
    if (FilesUnread(failure) || look_at_.contains(found.model)) {
      LookLater(found.model, found.began);
    }
  }
}

std::optional<Clock::time_point> ModelResidency::LookAtFailed() {
  std::erase_if(look_at_, [this](const auto& entry) {
    const std::optional<ModelSnapshot> snapshot = registry_->Find(entry.first);
    return !snapshot.has_value() || snapshot->state != ModelState::kFailed;
  });
  for (auto& [model, due] : look_at_) {
    if (due == kUnderWay || due > clock_->Now()) continue;
    due = kUnderWay;
    looks_.Start(registry_->Find(model)->spec);
  }
  FinishLooks();
  std::optional<Clock::time_point> next;
  for (const auto& [model, due] : look_at_) {
    if (due != kUnderWay) next = std::min(due, next.value_or(due));
  }
  return next;
}

DeviceBudget ModelResidency::Budget() const {
  return {.limit_bytes = ledger_->limit_bytes(),
          .free_bytes = ledger_->free_bytes(),
          .decode_scratch_bytes = decode_scratch_bytes_};
}

AdmissionPlan ModelResidency::Plan(const std::string& model, int64_t request_bytes) const {
  return PlanAdmission(registry_->List(), model, request_bytes, Budget());
}

bool ModelResidency::EvictAll(const std::vector<std::string>& models,
                              const std::string& for_model) {
  return std::ranges::all_of(models, [&](const std::string& other) {
    return Evict(other, EvictionCause::kMemory, "evicted for " + for_model);
  });
}

Result<bool> ModelResidency::MakeRoom(const std::string& model, const AdmissionPlan& plan,
                                      MemoryReservation* activations) {
  if (!EvictAll(plan.evictions, model)) return false;
  if (plan.needs_load) {
    const Status held = ReserveWeights(model);
    std::optional<MemoryReservation> scratch =
        ledger_->Reserve(model, MemoryPurpose::kScratch, plan.load_scratch_bytes);
    if (!held.ok() || !scratch.has_value()) {
      ReleaseWeights(model);
      return held.ok() ? NotAsPlanned(model) : held;
    }
    load_scratch_[model] = *std::move(scratch);
  }
  std::optional<MemoryReservation> request =
      ledger_->Reserve(model, MemoryPurpose::kActivations, plan.request_bytes);
  if (!request.has_value()) {
    ReleaseIfNotResident(model);
    return NotAsPlanned(model);
  }
  *activations = *std::move(request);
  return true;
}

bool ModelResidency::HasRoomFor(const std::string& model) const {
  return std::ranges::any_of(
      groups_, [&](const auto& group) { return group.second.models.contains(model); });
}

Status ModelResidency::ReserveWeights(const std::string& model) {
  const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
  if (!snapshot.has_value() || snapshot->description == nullptr) return OkStatus();
  for (const WeightGroup& group : snapshot->description->memory.weights) {
    HeldGroup& held = groups_[group.content_key];
    if (held.models.empty()) {
      std::optional<MemoryReservation> reserved =
          ledger_->Reserve(group.content_key, MemoryPurpose::kWeights, group.bytes);
      if (!reserved.has_value()) return NotAsPlanned(model);
      held.reservation = *std::move(reserved);
    }
    held.models.insert(model);
  }
  return OkStatus();
}

int64_t ModelResidency::GrowTo(const ModelMemory& memory) {
  int64_t missing_bytes = 0;
  for (const WeightGroup& group : memory.weights) {
    const auto found = groups_.find(group.content_key);
    if (found == groups_.end()) continue;
    MemoryReservation& held = found->second.reservation;
    if (!held.Resize(group.bytes)) missing_bytes += group.bytes - held.bytes();
  }
  return missing_bytes;
}

std::vector<WeightGroup> ModelResidency::HeldOf(std::vector<WeightGroup> weights) const {
  for (WeightGroup& group : weights) {
    const auto found = groups_.find(group.content_key);
    group.bytes = found != groups_.end() ? found->second.reservation.bytes() : 0;
  }
  return weights;
}

Status ModelResidency::CommitWeights(const std::string& model, const ModelMemory& memory) {
  while (true) {
    const int64_t missing_bytes = GrowTo(memory);
    if (missing_bytes == 0) return OkStatus();
    const AdmissionPlan plan =
        PlanGrowth(registry_->List(), model, HeldOf(memory.weights), missing_bytes, Budget());
    if (plan.admission != Admission::kNow) return RefusalOf(plan, ledger_->limit_bytes());
    EvictAll(plan.evictions, model);
  }
}

void ModelResidency::ReleaseWeights(const std::string& model) {
  on_demand_.erase(model);
  for (auto& [content_key, group] : groups_) group.models.erase(model);
  std::erase_if(groups_, [](const auto& entry) { return entry.second.models.empty(); });
}

Status ModelResidency::EnsureResident(const std::string& model, const std::string& reason,
                                      const LoadCallback& progress) {
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

Status ModelResidency::ReserveActivations(const std::string& model, int64_t bytes,
                                          MemoryReservation* activations) {
  if (bytes <= activations->bytes()) return OkStatus();
  activations->Release();
  return PlanAndMakeRoom(model, bytes, activations);
}

Status ModelResidency::PlanAndMakeRoom(const std::string& model, int64_t request_bytes,
                                       MemoryReservation* activations) {
  while (true) {
    const AdmissionPlan plan = Plan(model, request_bytes);
    if (plan.admission != Admission::kNow) return RefusalOf(plan, ledger_->limit_bytes());
    TF_ASSIGN_OR_RETURN(const bool is_made, MakeRoom(model, plan, activations));
    if (is_made) return OkStatus();
  }
}

Status ModelResidency::ReserveOnDemand(const std::string& model, OnDemand what, int64_t bytes,
                                       MemoryReservation* activations) {
  const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
  if (!snapshot.has_value() || snapshot->description == nullptr) return ModelNotFound(model);
  const auto& on_demand = snapshot->description->memory.on_demand;
  const auto found = on_demand.find(what);
  if (found == on_demand.end() || on_demand_[model].contains(what)) {
    // What was set aside for weights that are there by now is given back.
    if (bytes < activations->bytes()) activations->Resize(bytes);
    return ReserveActivations(model, bytes, activations);
  }
  const int64_t weight_bytes = found->second.bytes;
  activations->Release();
  TF_RETURN_IF_ERROR(PlanAndMakeRoom(model, bytes + weight_bytes, activations));
  activations->Resize(bytes);
  std::optional<MemoryReservation> weights =
      ledger_->Reserve(model, MemoryPurpose::kWeights, weight_bytes);
  if (!weights.has_value()) return NotAsPlanned(model);
  on_demand_[model][what] = *std::move(weights);
  DescribeOnDemand(model);
  return OkStatus();
}

void ModelResidency::DescribeOnDemand(const std::string& model) {
  const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
  if (!snapshot.has_value() || snapshot->description == nullptr) return;
  ModelDescription description = *snapshot->description;
  const auto held = on_demand_.find(model);
  for (auto& [what, weights] : description.memory.on_demand) {
    weights.is_held = held != on_demand_.end() && held->second.contains(what);
  }
  registry_->Redescribe(model, std::move(description));
}

Status ModelResidency::Load(const ModelSnapshot& snapshot, const std::string& reason,
                            const LoadCallback& progress) {
  const std::string& model = snapshot.spec.name;
  const Clock::time_point before = clock_->Now();
  registry_->SetLoading(model, {}, reason);
  Result<std::unique_ptr<DiffusionModel>> loaded = Guarded(kLoadFailed, [&] {
    return load_(snapshot.spec, [&](const LoadProgress& done) {
      registry_->SetLoading(model, done);
      return !progress || progress(done);
    });
  });
  load_scratch_.erase(model);
  Status status = loaded.status();
  bool fits = true;
  if (loaded.ok()) {
    const ModelDescription& description = (*loaded)->description();
    status = KeepDecodeScratch(description.memory);
    if (status.ok()) status = CommitWeights(model, description.memory);
    fits = status.ok();
    // What it takes is known from now on, whether or not there is room for it.
    if (!fits) registry_->Redescribe(model, description);
  }
  if (status.ok()) {
    registry_->CountRunning(model, 0, clock_->Now());
    registry_->SetResident(model, std::move(loaded).value());
  } else {
    if (loaded.ok()) loaded = status;  // the model goes before anybody hears that it has
    ReleaseWeights(model);
    if (IsLoadStopped(status)) {
      registry_->SetUnloaded(model, "nobody waited for it any more");
    } else if (!fits || status.code() == StatusCode::kResourceExhausted) {
      registry_->SetUnloaded(model, "out of memory");
    } else {
      Fail(model, status, clock_->Now());
    }
  }
  if (!IsLoadStopped(status)) observer_->OnLoaded(model, status, clock_->Now() - before);
  return status;
}

Status ModelResidency::KeepDecodeScratch(const ModelMemory& memory) {
  const int64_t bytes = memory.decode_scratch_bytes;
  if (bytes <= decode_scratch_.bytes()) return OkStatus();
  if (!decode_scratch_.Resize(bytes)) {
    std::optional<MemoryReservation> first = ledger_->Reserve("", MemoryPurpose::kScratch, bytes);
    if (!first.has_value()) return NotAsPlanned("the buffer that weights are unpacked into");
    decode_scratch_ = *std::move(first);
  }
  decode_scratch_bytes_ = decode_scratch_.bytes();
  return OkStatus();
}

void ModelResidency::ReleaseIfNotResident(const std::string& model) {
  if (registry_->Resident(model) != nullptr) return;
  ReleaseWeights(model);
  load_scratch_.erase(model);
}

bool ModelResidency::Evict(const std::string& model, EvictionCause cause, const std::string& reason,
                           Pins pins) {
  if (!registry_->SetEvicting(model, reason, pins)) return false;
  registry_->SetUnloaded(model, reason);
  const bool had_on_demand = on_demand_.contains(model);
  ReleaseWeights(model);
  if (had_on_demand) DescribeOnDemand(model);
  observer_->OnEvicted(model, cause, reason);
  return true;
}

std::optional<Clock::time_point> ModelResidency::Tend(const std::set<std::string>& wanted) {
  const std::optional<Clock::time_point> idle = EvictIdle(wanted);
  const std::optional<Clock::time_point> failed = LookAtFailed();
  if (!idle.has_value() || !failed.has_value()) return idle.has_value() ? idle : failed;
  return std::min(*idle, *failed);
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
      Evict(model.spec.name, EvictionCause::kIdle, "idle");
    } else if (!next.has_value() || due < *next) {
      next = due;
    }
  }
  return next;
}

}  // namespace tightfit
