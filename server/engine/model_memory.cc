#include "server/engine/model_memory.h"

#include <algorithm>
#include <map>
#include <utility>

namespace tightfit {
namespace {

bool Holds(const ModelSnapshot& model, const std::string& content_key) {
  const bool is_on_device = model.state == ModelState::kResident ||
                            model.state == ModelState::kLoading ||
                            model.state == ModelState::kEvicting;
  if (!is_on_device || model.description == nullptr) return false;
  return std::ranges::any_of(model.description->memory.weights, [&](const WeightGroup& group) {
    return group.content_key == content_key;
  });
}

// Of `bytes` in `count` parts, the part number `index`.
int64_t PartOf(int64_t bytes, int64_t count, int64_t index) {
  return bytes / count + (index < bytes % count ? 1 : 0);
}

}  // namespace

int32_t HolderCount(const std::string& content_key, const std::vector<ModelSnapshot>& models) {
  return static_cast<int32_t>(std::ranges::count_if(
      models, [&](const ModelSnapshot& model) { return Holds(model, content_key); }));
}

int64_t HostCachedBytes(const ModelSnapshot& model) {
  if (model.description == nullptr) return 0;
  int64_t bytes = 0;
  for (const WeightGroup& group : model.description->memory.weights) {
    bytes += MemoryAccounts::Instance()
                 .Get(group.content_key, group.component, MemoryPurpose::kHostCache)
                 ->current_bytes();
  }
  return bytes;
}

std::vector<ComponentMemory> MemoryOf(const ModelSnapshot& model,
                                      const std::vector<ModelSnapshot>& models) {
  std::map<std::pair<std::string, MemoryPurpose>, ComponentMemory> uses;
  const auto add = [&uses](const std::string& component, MemoryPurpose purpose, int64_t current,
                           int64_t peak) {
    ComponentMemory& use = uses[{component, purpose}];
    use.component = component;
    use.purpose = purpose;
    use.current_bytes += current;
    use.peak_bytes += peak;
  };
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  for (const MemoryUse& use : accounts.Snapshot(model.spec.name)) {
    add(use.component, use.purpose, use.current_bytes, use.peak_bytes);
  }
  if (model.description != nullptr) {
    for (const WeightGroup& group : model.description->memory.weights) {
      if (!Holds(model, group.content_key)) continue;
      const int64_t count = HolderCount(group.content_key, models);
      const auto self = std::ranges::find(models, model.spec.name,
                                          [](const ModelSnapshot& each) { return each.spec.name; });
      const int64_t index = std::count_if(models.begin(), self, [&](const ModelSnapshot& each) {
        return Holds(each, group.content_key);
      });
      for (const MemoryUse& use : accounts.Snapshot(group.content_key)) {
        if (use.purpose == MemoryPurpose::kHostCache) continue;
        add(group.component, use.purpose, PartOf(use.current_bytes, count, index),
            PartOf(use.peak_bytes, count, index));
      }
    }
  }
  std::vector<ComponentMemory> list;
  for (auto& [key, use] : uses) list.push_back(std::move(use));
  return list;
}

}  // namespace tightfit
