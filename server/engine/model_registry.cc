#include "server/engine/model_registry.h"

#include <algorithm>
#include <utility>

namespace tightfit {
namespace {

constexpr std::chrono::milliseconds kLoadingRetry{1000};
constexpr size_t kLongestShownName = 64;

Status ModelFailed(const ModelSnapshot& snapshot) {
  Status status = Status(StatusCode::kFailedPrecondition, "MODEL_FAILED",
                         "the model could not be loaded: " + snapshot.failure.message())
                      .WithDetail(snapshot.failure.detail())
                      .WithMetadata("model", snapshot.spec.name)
                      .WithMetadata("failure_reason", snapshot.failure.reason());
  if (!FilesUnread(snapshot.failure)) return status;
  return std::move(status).WithRetryAfter(kShortestLookInterval);
}

}  // namespace

std::string_view ModelStateName(ModelState state) {
  switch (state) {
    case ModelState::kUnloaded:
      return "unloaded";
    case ModelState::kLoading:
      return "loading";
    case ModelState::kResident:
      return "resident";
    case ModelState::kEvicting:
      return "evicting";
    case ModelState::kFailed:
      return "failed";
  }
  return "unknown";
}

bool FilesUnread(const Status& failure) {
  return failure.reason() == "FILE_MISSING" || failure.reason() == "FILE_TRUNCATED";
}

Status CheckServable(const ModelSnapshot& snapshot) {
  switch (snapshot.state) {
    case ModelState::kResident:
      return OkStatus();
    case ModelState::kFailed:
      return ModelFailed(snapshot);
    case ModelState::kUnloaded:
    case ModelState::kLoading:
    case ModelState::kEvicting:
      if (snapshot.description != nullptr) return OkStatus();
      break;
  }
  return Status(StatusCode::kUnavailable, "MODEL_LOADING", "the model is being loaded")
      .WithMetadata("model", snapshot.spec.name)
      .WithRetryAfter(kLoadingRetry);
}

bool IsUnmeasured(const ModelSnapshot& model) {
  return model.state != ModelState::kResident && model.description != nullptr &&
         !model.description->memory.costs.has_value();
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
    entry.snapshot.policy = {.pinned = spec.pinned,
                             .keep_alive = std::chrono::seconds(spec.keep_alive_seconds),
                             .priority = spec.priority};
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

void ModelRegistry::Change(std::string_view name, const std::function<void(Entry&)>& change) {
  ChangeIf(name, [&](Entry& entry) {
    change(entry);
    return true;
  });
}

bool ModelRegistry::ChangeIf(std::string_view name, const std::function<bool(Entry&)>& change) {
  const std::lock_guard one_change(change_mutex_);
  std::optional<ModelSnapshot> changed;
  {
    const std::lock_guard lock(mutex_);
    Entry* const entry = FindLocked(name);
    if (entry == nullptr) return false;
    const ModelState before = entry->snapshot.state;
    if (!change(*entry)) return false;
    if (entry->snapshot.state != before) {
      entry->snapshot.state_since = std::chrono::system_clock::now();
    }
    changed = entry->snapshot;
  }
  Notify(change_listeners_, *changed);
  return true;
}

void ModelRegistry::SetLoading(std::string_view name, const LoadProgress& progress,
                               std::string reason) {
  std::optional<ModelSnapshot> loading;
  {
    const std::lock_guard lock(mutex_);
    Entry* const entry = FindLocked(name);
    if (entry == nullptr) return;
    entry->snapshot.loading = progress;
    if (entry->snapshot.state == ModelState::kLoading) loading = entry->snapshot;
  }
  if (loading.has_value()) return Notify(progress_listeners_, *loading);
  Change(name, [&](Entry& entry) {
    entry.snapshot.state = ModelState::kLoading;
    entry.snapshot.state_reason = std::move(reason);
    entry.snapshot.failure = OkStatus();
  });
}

void ModelRegistry::SetResident(std::string_view name, std::unique_ptr<DiffusionModel> model) {
  Change(name, [&](Entry& entry) {
    ModelSnapshot& snapshot = entry.snapshot;
    snapshot.state = ModelState::kResident;
    snapshot.failure = OkStatus();
    snapshot.loading.reset();
    snapshot.description = std::make_shared<const ModelDescription>(model->description());
    std::swap(entry.model, model);
  });
}

bool ModelRegistry::SetEvicting(std::string_view name, std::string reason, Pins pins) {
  return ChangeIf(name, [&](Entry& entry) {
    if (entry.snapshot.policy.pinned && pins == Pins::kRespect) return false;
    entry.snapshot.state = ModelState::kEvicting;
    entry.snapshot.state_reason = std::move(reason);
    return true;
  });
}

void ModelRegistry::SetFailed(std::string_view name, Status failure) {
  std::unique_ptr<DiffusionModel> model;  // dies outside the lock
  Change(name, [&](Entry& entry) {
    ModelSnapshot& snapshot = entry.snapshot;
    model = std::move(entry.model);
    snapshot.state = ModelState::kFailed;
    snapshot.state_reason = failure.reason();
    snapshot.failure = std::move(failure);
    snapshot.loading.reset();
    snapshot.description.reset();
  });
}

void ModelRegistry::SetUnloaded(std::string_view name, std::string reason) {
  std::unique_ptr<DiffusionModel> model;
  {
    const std::lock_guard lock(mutex_);
    Entry* const entry = FindLocked(name);
    if (entry == nullptr) return;
    model = std::move(entry->model);
  }
  model.reset();  // outside the lock, and before anybody hears that its memory is free
  Change(name, [&](Entry& entry) {
    ModelSnapshot& snapshot = entry.snapshot;
    snapshot.state = ModelState::kUnloaded;
    snapshot.state_reason = std::move(reason);
    snapshot.failure = OkStatus();
    snapshot.loading.reset();
  });
}

void ModelRegistry::SetDescribed(std::string_view name, ModelDescription description) {
  Change(name, [&](Entry& entry) {
    ModelSnapshot& snapshot = entry.snapshot;
    snapshot.description = std::make_shared<const ModelDescription>(std::move(description));
    if (snapshot.state != ModelState::kFailed) return;
    snapshot.state = ModelState::kUnloaded;
    snapshot.state_reason = "its files can be read";
    snapshot.failure = OkStatus();
  });
}

void ModelRegistry::Redescribe(std::string_view name, ModelDescription description) {
  auto shared = std::make_shared<const ModelDescription>(std::move(description));
  const std::lock_guard lock(mutex_);
  if (Entry* const entry = FindLocked(name)) entry->snapshot.description.swap(shared);
}

void ModelRegistry::ChangePolicy(std::string_view name,
                                 const std::function<void(ResidencyPolicy&)>& change) {
  Change(name, [&](Entry& entry) { change(entry.snapshot.policy); });
}

void ModelRegistry::CountRunning(std::string_view name, int32_t change,
                                 std::chrono::steady_clock::time_point now) {
  const std::lock_guard lock(mutex_);
  Entry* const entry = FindLocked(name);
  if (entry == nullptr) return;
  entry->snapshot.running_count += change;
  entry->snapshot.last_used = now;
  entry->snapshot.last_used_time = std::chrono::system_clock::now();
}

void ModelRegistry::OnChange(std::function<void(const ModelSnapshot&)> listener) {
  const std::lock_guard lock(mutex_);
  change_listeners_.push_back(std::move(listener));
}

void ModelRegistry::OnProgress(std::function<void(const ModelSnapshot&)> listener) {
  const std::lock_guard lock(mutex_);
  progress_listeners_.push_back(std::move(listener));
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

void ModelRegistry::Notify(const Listeners& listeners, const ModelSnapshot& snapshot) const {
  Listeners called;
  {
    const std::lock_guard lock(mutex_);
    called = listeners;
  }
  for (const auto& listener : called) listener(snapshot);
}

}  // namespace tightfit
