#include "server/engine/model_registry.h"

#include <algorithm>
#include <utility>

namespace tightfit {
namespace {

constexpr std::chrono::milliseconds kLoadingRetry{1000};
constexpr size_t kLongestShownName = 64;

}  // namespace

std::string_view ModelStateName(ModelState state) {
  switch (state) {
    case ModelState::kUnloaded:
      return "unloaded";
    case ModelState::kLoading:
      return "loading";
    case ModelState::kResident:
      return "resident";
    case ModelState::kFailed:
      return "failed";
  }
  return "unknown";
}

Status CheckServable(const ModelSnapshot& snapshot) {
  switch (snapshot.state) {
    case ModelState::kResident:
      return OkStatus();
    case ModelState::kFailed:
      return Status(StatusCode::kFailedPrecondition, "MODEL_FAILED",
                    "the model could not be loaded: " + snapshot.failure.message())
          .WithDetail(snapshot.failure.detail())
          .WithMetadata("model", snapshot.spec.name)
          .WithMetadata("failure_reason", snapshot.failure.reason());
    case ModelState::kUnloaded:
    case ModelState::kLoading:
      break;
  }
  return Status(StatusCode::kUnavailable, "MODEL_LOADING", "the model is being loaded")
      .WithMetadata("model", snapshot.spec.name)
      .WithRetryAfter(kLoadingRetry);
}

Status ModelNotFound(std::string_view name) {
  std::string shown(name.substr(0, kLongestShownName));
  for (char& c : shown) {
    if (c < ' ' || c > '~') c = '?';
  }
  return Status(StatusCode::kNotFound, "MODEL_NOT_FOUND",
                "no model named '" + shown + "' is configured")
      .WithMetadata("model", shown);
}

ModelRegistry::ModelRegistry(std::vector<ModelSpec> specs) {
  const auto now = std::chrono::system_clock::now();
  entries_.reserve(specs.size());
  for (ModelSpec& spec : specs) {
    Entry& entry = entries_.emplace_back();
    entry.snapshot.spec = std::move(spec);
    entry.snapshot.state_since = now;
  }
}

std::vector<ModelSnapshot> ModelRegistry::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<ModelSnapshot> snapshots;
  snapshots.reserve(entries_.size());
  for (const Entry& entry : entries_) snapshots.push_back(entry.snapshot);
  return snapshots;
}

std::optional<ModelSnapshot> ModelRegistry::Find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const Entry* entry = FindLocked(name);
  if (entry == nullptr) return std::nullopt;
  return entry->snapshot;
}

void ModelRegistry::SetLoading(std::string_view name, const LoadProgress& progress) {
  std::optional<ModelSnapshot> changed;
  {
    const std::lock_guard lock(mutex_);
    Entry* entry = FindLocked(name);
    if (entry == nullptr) return;
    ModelSnapshot& snapshot = entry->snapshot;
    snapshot.loading = progress;
    if (snapshot.state != ModelState::kLoading) {
      snapshot.state = ModelState::kLoading;
      snapshot.state_since = std::chrono::system_clock::now();
      snapshot.failure = OkStatus();
      changed = snapshot;
    }
  }
  if (changed.has_value()) Notify(*changed);
}

void ModelRegistry::SetResident(std::string_view name, std::unique_ptr<DiffusionModel> model) {
  ModelSnapshot changed;
  {
    const std::lock_guard lock(mutex_);
    Entry* entry = FindLocked(name);
    if (entry == nullptr) return;
    ModelSnapshot& snapshot = entry->snapshot;
    snapshot.state = ModelState::kResident;
    snapshot.state_since = std::chrono::system_clock::now();
    snapshot.failure = OkStatus();
    snapshot.loading.reset();
    snapshot.description = std::make_shared<const ModelDescription>(model->description());
    std::swap(entry->model, model);
    changed = snapshot;
  }
  Notify(changed);
}

void ModelRegistry::SetFailed(std::string_view name, Status failure) {
  ModelSnapshot changed;
  std::unique_ptr<DiffusionModel> model;  // dies outside the lock
  {
    const std::lock_guard lock(mutex_);
    Entry* entry = FindLocked(name);
    if (entry == nullptr) return;
    ModelSnapshot& snapshot = entry->snapshot;
    model = std::move(entry->model);
    snapshot.state = ModelState::kFailed;
    snapshot.state_since = std::chrono::system_clock::now();
    snapshot.failure = std::move(failure);
    snapshot.loading.reset();
    snapshot.description.reset();
    changed = snapshot;
  }
  Notify(changed);
}

void ModelRegistry::SetUnloaded(std::string_view name) {
  ModelSnapshot changed;
  std::unique_ptr<DiffusionModel> model;  // dies outside the lock
  {
    const std::lock_guard lock(mutex_);
    Entry* entry = FindLocked(name);
    if (entry == nullptr) return;
    ModelSnapshot& snapshot = entry->snapshot;
    snapshot.state = ModelState::kUnloaded;
    snapshot.state_since = std::chrono::system_clock::now();
    snapshot.failure = OkStatus();
    snapshot.loading.reset();
    snapshot.description.reset();
    model = std::move(entry->model);
    changed = snapshot;
  }
  model.reset();
  Notify(changed);
}

void ModelRegistry::OnChange(std::function<void(const ModelSnapshot&)> listener) {
  const std::lock_guard lock(mutex_);
  listeners_.push_back(std::move(listener));
}

DiffusionModel* ModelRegistry::Resident(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const Entry* entry = FindLocked(name);
  if (entry == nullptr || entry->snapshot.state != ModelState::kResident) return nullptr;
  return entry->model.get();
}

ModelRegistry::Entry* ModelRegistry::FindLocked(std::string_view name) {
  const auto found = std::ranges::find_if(
      entries_, [&](const Entry& entry) { return entry.snapshot.spec.name == name; });
  return found == entries_.end() ? nullptr : &*found;
}

const ModelRegistry::Entry* ModelRegistry::FindLocked(std::string_view name) const {
  return const_cast<ModelRegistry*>(this)->FindLocked(name);
}

void ModelRegistry::Notify(const ModelSnapshot& snapshot) const {
  std::vector<std::function<void(const ModelSnapshot&)>> listeners;
  {
    const std::lock_guard lock(mutex_);
    listeners = listeners_;
  }
  for (const auto& listener : listeners) listener(snapshot);
}

}  // namespace tightfit
