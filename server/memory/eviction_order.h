// EvictionOrder: which models make room. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_MEMORY_EVICTION_ORDER_H_
#define TIGHTFIT_SERVER_MEMORY_EVICTION_ORDER_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tightfit {

// A resident model that is neither pinned nor in use.
struct EvictionCandidate {
  std::string model;
  int64_t bytes = 0;     // that its going away frees
  int32_t priority = 0;  // higher stays longer
  std::chrono::steady_clock::time_point last_used;
};

// The models to evict so that at least `needed_bytes` get free, in the order of going: of low
// priority first, then those that were used longest ago. None that is not necessary: whatever could
// stay after all stays, the most recently used first. nullopt where all together do not suffice;
// empty where nothing is needed.
std::optional<std::vector<std::string>> ChooseEvictions(std::vector<EvictionCandidate> candidates,
                                                        int64_t needed_bytes);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MEMORY_EVICTION_ORDER_H_
