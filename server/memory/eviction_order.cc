#include "server/memory/eviction_order.h"

#include <algorithm>
#include <tuple>

namespace tightfit {

std::optional<std::vector<std::string>> ChooseEvictions(std::vector<EvictionCandidate> candidates,
                                                        int64_t needed_bytes) {
  if (needed_bytes <= 0) return std::vector<std::string>();
  std::ranges::sort(candidates, {}, [](const EvictionCandidate& candidate) {
    return std::tie(candidate.priority, candidate.last_used, candidate.model);
  });
  int64_t freed_bytes = 0;
  size_t count = 0;
  while (count < candidates.size() && freed_bytes < needed_bytes) {
    freed_bytes += candidates[count++].bytes;
  }
  if (freed_bytes < needed_bytes) return std::nullopt;
  candidates.resize(count);
  for (size_t i = count; i-- > 0;) {
    if (freed_bytes - candidates[i].bytes < needed_bytes) continue;
    freed_bytes -= candidates[i].bytes;
    candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(i));
  }
  std::vector<std::string> models;
  for (const EvictionCandidate& candidate : candidates) models.push_back(candidate.model);
  return models;
}

}  // namespace tightfit
