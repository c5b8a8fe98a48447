#include "server/engine/model_residency.h"

#include <algorithm>
#include <exception>
#include <utility>
#include <vector>

namespace tightfit {

ModelResidency::ModelResidency(ModelRegistry* registry, ModelLoader load, ModelDescriber describe,
                               DeviceLedger* ledger, const Clock* clock, ExecutorObserver* observer)
    : registry_(registry),
      load_(std::move(load)),
      describe_(std::move(describe)),
      ledger_(ledger),
      clock_(clock),
      observer_(observer) {}

void ModelResidency::DescribeAll() {
  if (!describe_) return;
  for (const ModelSnapshot& model : registry_->List()) {
    Result<ModelDescription> described = describe_(model.spec);
    if (described.ok()) {
      registry_->SetDescribed(model.spec.name, std::move(described).value());
    } else {
      registry_->SetFailed(model.spec.name, described.status());
      observer_->OnLoaded(model.spec.name, described.status(), {});
    }
  }
}

RoomPlan ModelResidency::Plan(const std::string& model, int64_t request_bytes) const {
  return PlanRoom(registry_->List(), model, request_bytes, ledger_->free_bytes(),
                  ledger_->limit_bytes());
}

MemoryReservation ModelResidency::MakeRoom(const std::string& model, const RoomPlan& plan) {
  for (const std::string& other : plan.evictions) Evict(other, "evicted for " + model);
  const auto reserve = [&](MemoryPurpose purpose, int64_t bytes) {
    return ledger_->Reserve(model, purpose, bytes).value_or(MemoryReservation());
  };
  if (plan.needs_load && !weights_.contains(model)) {
    weights_[model] = reserve(MemoryPurpose::kWeights, plan.weight_bytes);
    load_scratch_[model] = reserve(MemoryPurpose::kScratch, plan.load_scratch_bytes);
  }
  return reserve(MemoryPurpose::kActivations, plan.request_bytes);
}

Status ModelResidency::Load(const std::string& model, const std::string& reason,
                            const std::function<void(const LoadProgress&)>& progress) {
  const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
  if (!snapshot.has_value()) return ModelNotFound(model);
  const Clock::time_point before = clock_->Now();
  registry_->SetLoading(model, {}, reason);
  Result<std::unique_ptr<DiffusionModel>> loaded =
      CallLoader(snapshot->spec, [&](const LoadProgress& done) {
        registry_->SetLoading(model, done);
        if (progress) progress(done);
      });
  load_scratch_.erase(model);
  KeepDecodeScratch(snapshot->description.get());
  Status status = loaded.status();
  if (loaded.ok()) {
    // The weights' true size; more than was promised is kept only where it fits.
    const int64_t bytes = (*loaded)->description().memory.weight_bytes;
    if (!weights_[model].Resize(bytes) && bytes > weights_[model].bytes()) {
      status = Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                      "the model's weights take more memory than is free");
      loaded = status;
    }
  }
  if (loaded.ok()) {
    registry_->CountRunning(model, 0, clock_->Now());
    registry_->SetResident(model, std::move(loaded).value());
  } else {
    weights_.erase(model);
    if (status.code() == StatusCode::kResourceExhausted) {
      registry_->SetUnloaded(model, "out of memory");
    } else {
      registry_->SetFailed(model, status);
    }
  }
  observer_->OnLoaded(model, status, clock_->Now() - before);
  return status;
}

Result<std::unique_ptr<DiffusionModel>> ModelResidency::CallLoader(
    const ModelSpec& spec, const std::function<void(const LoadProgress&)>& progress) {
  try {
    return load_(spec, progress);
  } catch (const std::exception& error) {
    return Internal("the model could not be loaded", error.what());
  } catch (...) {
    return Internal("the model could not be loaded", "unknown exception");
  }
}

void ModelResidency::KeepDecodeScratch(const ModelDescription* description) {
  const int64_t bytes = description != nullptr ? description->memory.decode_scratch_bytes : 0;
  if (bytes <= decode_scratch_.bytes()) return;
  if (decode_scratch_.Resize(bytes)) return;
  std::optional<MemoryReservation> reserved = ledger_->Reserve("", MemoryPurpose::kScratch, bytes);
  if (reserved.has_value()) decode_scratch_ = std::move(*reserved);
}

void ModelResidency::ForgetUnloaded(const std::string& model) {
  if (registry_->Resident(model) != nullptr) return;
  weights_.erase(model);
  load_scratch_.erase(model);
}

void ModelResidency::Evict(const std::string& model, const std::string& reason) {
  registry_->SetEvicting(model, reason);
  registry_->SetUnloaded(model, reason);
  weights_.erase(model);
  observer_->OnEvicted(model, reason);
}

std::optional<Clock::time_point> ModelResidency::EvictIdle() {
  std::optional<Clock::time_point> next;
  for (const ModelSnapshot& model : registry_->List()) {
    if (model.state != ModelState::kResident || model.policy.keep_alive.count() == 0 ||
        model.policy.pinned || model.running_count > 0 || !model.last_used.has_value()) {
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
