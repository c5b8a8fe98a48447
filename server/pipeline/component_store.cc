#include "server/pipeline/component_store.h"

#include "server/memory/memory_accounts.h"

#include <algorithm>

namespace tightfit {
namespace {

// Graphs that are kept: more than a server has components, and few enough that directories that are
// exported anew while it runs do not fill its memory.
constexpr size_t kMaxLeft = 256;

// The weights of a component change the account they are charged to.
void HandOverWeights(const Component& component, const std::string& content, MemoryPurpose from,
                     MemoryPurpose to) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  const std::string& name = component.description().name;
  accounts.Get(content, name, from)
      ->HandOver(component.description().weight_bytes, accounts.Get(content, name, to));
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
  if (left == left_.end() || !left->component->has_weights()) return nullptr;
  HandOverWeights(*left->component, content, MemoryPurpose::kHostCache, MemoryPurpose::kWeights);
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

void ComponentStore::Leave(const std::string& content, std::unique_ptr<Component> component) {
  HandOverWeights(*component, content, MemoryPurpose::kWeights, MemoryPurpose::kHostCache);
  left_.push_front({content, std::move(component)});
  Trim(host_cache_limit_bytes_);
  // The last of them have lost their weights long ago.
  while (left_.size() > kMaxLeft && !left_.back().component->has_weights()) left_.pop_back();
}

void ComponentStore::Trim(int64_t limit_bytes) {
  int64_t held_bytes = 0;
  for (const Left& left : left_) {
    if (!left.component->has_weights()) continue;
    const int64_t bytes = left.component->description().weight_bytes;
    if (held_bytes + bytes > limit_bytes) {
      HandOverWeights(*left.component, left.content, MemoryPurpose::kHostCache,
                      MemoryPurpose::kWeights);
      left.component->ClearWeights();
    } else {
      held_bytes += bytes;
    }
  }
}

}  // namespace tightfit
