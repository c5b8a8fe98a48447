// ChooseEvictions: which models make room. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_MEMORY_EVICTION_ORDER_H_
#define TIGHTFIT_SERVER_MEMORY_EVICTION_ORDER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace tightfit {

// A resident model that is neither pinned nor in use.
struct EvictionCandidate {
  std::string model;
  int32_t priority = 0;  // higher stays longer
  std::chrono::steady_clock::time_point last_used;
};

// The models to evict so that `suffices` holds of them, in the order of going: of low priority
// first, then those that were used longest ago. None that is not necessary: whatever could stay
// after all stays, the most recently used first. nullopt where all together do not suffice; empty
// where nobody has to go. `suffices` must hold of every larger set too.
std::optional<std::vector<std::string>> ChooseEvictions(
    std::vector<EvictionCandidate> candidates,
    const std::function<bool(const std::vector<std::string>& evicted)>& suffices);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MEMORY_EVICTION_ORDER_H_
