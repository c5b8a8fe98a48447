#include "server/weights/weight_store.h"

#include "server/base/load_stop.h"
#include "server/memory/memory_accounts.h"

#include <algorithm>

namespace tightfit {
namespace {

// Graphs that are kept: more than a server has components, and few enough that directories that are
// exported anew while it runs do not fill its memory.
constexpr size_t kMaxIdle = 256;

MemoryAccount* AccountOf(const Component& component, const std::string& content_key,
                         MemoryPurpose purpose) {
  return MemoryAccounts::Instance().Get(content_key, component.description().name, purpose);
}

}  // namespace

void WeightStore::SetHostCacheLimit(int64_t bytes) { host_cache_limit_bytes_ = bytes; }

Result<std::shared_ptr<Component>> WeightStore::Acquire(
    const ModelDirectory& directory, const ComponentOptions& options,
    const std::function<bool(int64_t)>& progress) {
  const std::string& content_key = options.owner;
  const std::pair<std::string, std::string> checked(content_key, directory.path);
  std::shared_ptr<Component> component = Find(content_key);
  if (component != nullptr && checked_.contains(checked)) {
    const int64_t file_bytes = directory.components.at(options.component).weights.bytes;
    if (progress && !progress(file_bytes)) return LoadStopped();
  } else if (component != nullptr) {
    // A damaged directory is refused whatever else is on the device.
    TF_RETURN_IF_ERROR(CheckFiles(directory, options, progress));
  } else if (std::unique_ptr<Component> graph = TakeGraph(content_key)) {
    TF_RETURN_IF_ERROR(graph->ReadWeights(directory, progress));
    component = Share(content_key, std::move(graph));
  } else {
    TF_ASSIGN_OR_RETURN(std::unique_ptr<Component> loaded,
                        Component::Load(directory, options, progress));
    component = Share(content_key, std::move(loaded));
  }
  checked_.insert(checked);
  return component;
}

std::shared_ptr<Component> WeightStore::Find(const std::string& content_key) {
  if (const auto used = used_.find(content_key); used != used_.end()) {
    if (std::shared_ptr<Component> component = used->second.lock()) return component;
  }
  const auto idle = std::ranges::find(idle_, content_key, &Idle::content_key);
  if (idle == idle_.end() || !idle->component->has_weights() || !BringBack(&*idle)) return nullptr;
  return Share(content_key, TakeIdle(idle));
}

std::unique_ptr<Component> WeightStore::TakeGraph(const std::string& content_key) {
  const auto idle = std::ranges::find(idle_, content_key, &Idle::content_key);
  if (idle == idle_.end() || idle->component->has_weights()) return nullptr;
  return TakeIdle(idle);
}

std::unique_ptr<Component> WeightStore::TakeIdle(std::list<Idle>::iterator idle) {
  std::unique_ptr<Component> component = std::move(idle->component);
  idle_.erase(idle);
  return component;
}

std::shared_ptr<Component> WeightStore::Share(const std::string& content_key,
                                              std::unique_ptr<Component> component) {
  std::erase_if(used_, [](const auto& entry) { return entry.second.expired(); });
  std::shared_ptr<Component> shared(component.release(), [this, content_key](Component* last) {
    Release(content_key, std::unique_ptr<Component>(last));
  });
  used_[content_key] = shared;
  return shared;
}

void WeightStore::DropHostCache() { Trim(0); }

// On a CPU the weights stay where they are, and change the account they are charged to.
bool WeightStore::KeepOnHost(Idle* idle) {
  Component& component = *idle->component;
  MemoryAccount* const host = AccountOf(component, idle->content_key, MemoryPurpose::kHostCache);
  if (component.device().is_cpu()) {
    idle->host_bytes = component.description().weight_bytes;
    AccountOf(component, idle->content_key, MemoryPurpose::kWeights)
        ->HandOver(idle->host_bytes, host);
    return true;
  }
  const int64_t bytes = component.description().weight_bytes;
  if (bytes > host_cache_limit_bytes_) return false;
  Trim(host_cache_limit_bytes_ - bytes);  // before the copy is there, not after
  const Result<int64_t> moved = component.MoveWeightsToHost();
  if (!moved.ok()) return false;
  idle->host_bytes = *moved;
  host->Charge(idle->host_bytes);
  return true;
}

bool WeightStore::BringBack(Idle* idle) {
  Component& component = *idle->component;
  MemoryAccount* const host = AccountOf(component, idle->content_key, MemoryPurpose::kHostCache);
  MemoryAccount* const weights = AccountOf(component, idle->content_key, MemoryPurpose::kWeights);
  if (component.device().is_cpu()) {
    host->HandOver(idle->host_bytes, weights);
    return true;
  }
  const ScopedMemoryAccount account(weights);
  if (!component.MoveWeightsToDevice().ok()) {
    // What the graph is filled with next is read anew, and says what is wrong.
    Free(idle);
    return false;
  }
  host->Credit(idle->host_bytes);
  return true;
}

void WeightStore::Free(Idle* idle) {
  Component& component = *idle->component;
  MemoryAccount* const host = AccountOf(component, idle->content_key, MemoryPurpose::kHostCache);
  if (component.device().is_cpu()) {
    host->HandOver(idle->host_bytes,
                   AccountOf(component, idle->content_key, MemoryPurpose::kWeights));
  } else {
    host->Credit(idle->host_bytes);
  }
  component.ClearWeights();
}

void WeightStore::Release(const std::string& content_key, std::unique_ptr<Component> component) {
  Idle idle{.content_key = content_key, .component = std::move(component)};
  if (!KeepOnHost(&idle)) idle.component->ClearWeights();
  idle_.push_front(std::move(idle));
  Trim(host_cache_limit_bytes_);
  // Trim has freed the weights of the oldest, so only graphs go here.
  while (idle_.size() > kMaxIdle && !idle_.back().component->has_weights()) idle_.pop_back();
}

void WeightStore::Trim(int64_t limit_bytes) {
  int64_t held_bytes = 0;
  for (Idle& idle : idle_) {
    if (!idle.component->has_weights()) continue;
    if (held_bytes + idle.host_bytes > limit_bytes) {
      Free(&idle);
    } else {
      held_bytes += idle.host_bytes;
    }
  }
}

}  // namespace tightfit
