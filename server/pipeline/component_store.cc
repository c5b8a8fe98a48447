#include "server/pipeline/component_store.h"

#include "server/memory/memory_accounts.h"

#include <algorithm>

namespace tightfit {
namespace {

// Graphs that are kept: more than a server has components, and few enough that directories that are
// exported anew while it runs do not fill its memory.
constexpr size_t kMaxLeft = 256;

MemoryAccount* AccountOf(const Component& component, const std::string& content,
                         MemoryPurpose purpose) {
  return MemoryAccounts::Instance().Get(content, component.description().name, purpose);
}

}  // namespace

ComponentStore& ComponentStore::Instance() {
  static auto* const store = new ComponentStore;
  return *store;
}

void ComponentStore::SetHostCacheLimit(int64_t bytes) { host_cache_limit_bytes_ = bytes; }

std::shared_ptr<Component> ComponentStore::Find(const std::string& content) {
  if (const auto used = used_.find(content); used != used_.end()) {
    if (std::shared_ptr<Component> component = used->second.lock()) return component;
  }
  const auto left = std::ranges::find(left_, content, &Left::content);
  if (left == left_.end() || !left->component->has_weights() || !BringBack(&*left)) return nullptr;
  return Share(content, TakeLeft(left));
}

std::unique_ptr<Component> ComponentStore::TakeGraph(const std::string& content) {
  const auto left = std::ranges::find(left_, content, &Left::content);
  if (left == left_.end() || left->component->has_weights()) return nullptr;
  return TakeLeft(left);
}

std::unique_ptr<Component> ComponentStore::TakeLeft(std::list<Left>::iterator left) {
  std::unique_ptr<Component> component = std::move(left->component);
  left_.erase(left);
  return component;
}

std::shared_ptr<Component> ComponentStore::Share(const std::string& content,
                                                 std::unique_ptr<Component> component) {
  std::erase_if(used_, [](const auto& entry) { return entry.second.expired(); });
  std::shared_ptr<Component> shared(component.release(), [this, content](Component* last) {
    Leave(content, std::unique_ptr<Component>(last));
  });
  used_[content] = shared;
  return shared;
}

bool ComponentStore::IsChecked(const std::string& content, const std::string& directory) const {
  return checked_.contains({content, directory});
}

void ComponentStore::SetChecked(const std::string& content, const std::string& directory) {
  checked_.insert({content, directory});
}

void ComponentStore::DropHostCache() { Trim(0); }

// On a CPU the weights stay where they are, and change the account they are charged to.
bool ComponentStore::KeepOnHost(Left* left) {
  Component& component = *left->component;
  MemoryAccount* const host = AccountOf(component, left->content, MemoryPurpose::kHostCache);
  if (component.device().is_cpu()) {
    left->host_bytes = component.description().weight_bytes;
    AccountOf(component, left->content, MemoryPurpose::kWeights)->HandOver(left->host_bytes, host);
    return true;
  }
  const int64_t bytes = component.description().weight_bytes;
  if (bytes > host_cache_limit_bytes_) return false;
  Trim(host_cache_limit_bytes_ - bytes);  // before the copy is there, not after
  const Result<int64_t> moved = component.MoveWeightsToHost();
  if (!moved.ok()) return false;
  left->host_bytes = *moved;
  host->Charge(left->host_bytes);
  return true;
}

bool ComponentStore::BringBack(Left* left) {
  Component& component = *left->component;
  MemoryAccount* const host = AccountOf(component, left->content, MemoryPurpose::kHostCache);
  MemoryAccount* const weights = AccountOf(component, left->content, MemoryPurpose::kWeights);
  if (component.device().is_cpu()) {
    host->HandOver(left->host_bytes, weights);
    return true;
  }
  const ScopedMemoryAccount account(weights);
  if (!component.MoveWeightsToDevice().ok()) {
    // What the graph is filled with next is read anew, and says what is wrong.
    Free(left);
    return false;
  }
  host->Credit(left->host_bytes);
  return true;
}

void ComponentStore::Free(Left* left) {
  Component& component = *left->component;
  MemoryAccount* const host = AccountOf(component, left->content, MemoryPurpose::kHostCache);
  if (component.device().is_cpu()) {
    host->HandOver(left->host_bytes, AccountOf(component, left->content, MemoryPurpose::kWeights));
  } else {
    host->Credit(left->host_bytes);
  }
  component.ClearWeights();
}

void ComponentStore::Leave(const std::string& content, std::unique_ptr<Component> component) {
  Left left{.content = content, .component = std::move(component)};
  if (!KeepOnHost(&left)) left.component->ClearWeights();
  left_.push_front(std::move(left));
  Trim(host_cache_limit_bytes_);
  // The last of them have lost their weights long ago.
  while (left_.size() > kMaxLeft && !left_.back().component->has_weights()) left_.pop_back();
}

void ComponentStore::Trim(int64_t limit_bytes) {
  int64_t held_bytes = 0;
  for (Left& left : left_) {
    if (!left.component->has_weights()) continue;
    if (held_bytes + left.host_bytes > limit_bytes) {
      Free(&left);
    } else {
      held_bytes += left.host_bytes;
    }
  }
}

}  // namespace tightfit
