#include "server/memory/eviction_order.h"

#include <algorithm>
#include <tuple>

namespace tightfit {

std::optional<std::vector<std::string>> ChooseEvictions(
    std::vector<EvictionCandidate> candidates,
    const std::function<bool(const std::vector<std::string>& evicted)>& suffices) {
  std::ranges::sort(candidates, {}, [](const EvictionCandidate& candidate) {
    return std::tie(candidate.priority, candidate.last_used, candidate.model);
  });
  std::vector<std::string> evicted;
  for (const EvictionCandidate& candidate : candidates) {
    if (suffices(evicted)) break;
    evicted.push_back(candidate.model);
  }
  if (!suffices(evicted)) return std::nullopt;
  for (size_t i = evicted.size(); i-- > 0;) {
    std::vector<std::string> others = evicted;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
    if (suffices(others)) evicted = std::move(others);
  }
  return evicted;
}

}  // namespace tightfit
