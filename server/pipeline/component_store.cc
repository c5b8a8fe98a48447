#include "server/pipeline/component_store.h"

namespace tightfit {

ComponentStore& ComponentStore::Instance() {
  static auto* const store = new ComponentStore;
  return *store;
}

std::shared_ptr<Component> ComponentStore::Find(const std::string& content) const {
  const auto found = components_.find(content);
  return found == components_.end() ? nullptr : found->second.lock();
}

void ComponentStore::Add(const std::string& content, const std::shared_ptr<Component>& component) {
  std::erase_if(components_, [](const auto& entry) { return entry.second.expired(); });
  components_[content] = component;
}

}  // namespace tightfit
