// SlotsByKey: the slots of a graph by the names of their tensors.
#ifndef TIGHTFIT_SERVER_WEIGHTS_SLOTS_BY_KEY_H_
#define TIGHTFIT_SERVER_WEIGHTS_SLOTS_BY_KEY_H_

#include "server/base/status.h"
#include "server/weights/weight_slot.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tightfit {

using SlotsByKey = std::unordered_map<std::string_view, WeightSlot*>;

// A tensor of a weight file, as far as slots care.
struct NamedShape {
  std::string_view name;
  const std::vector<int64_t>& shape;
};

// `file`: what messages call it. `slots` must outlive the result. Errors: BAD_MODEL_DIRECTORY for a
// slot that has no tensor, or one of another rank than it takes.
Result<SlotsByKey> FindSlots(std::string_view file, const std::vector<NamedShape>& tensors,
                             std::vector<WeightSlot>& slots);

// Clears the slots at its end unless told that all went well, also when LibTorch throws.
class ClearOnFailure {
 public:
  explicit ClearOnFailure(std::vector<WeightSlot>* slots) : slots_(slots) {}
  ~ClearOnFailure() {
    if (slots_ != nullptr) ClearWeights(*slots_);
  }
  ClearOnFailure(const ClearOnFailure&) = delete;
  ClearOnFailure& operator=(const ClearOnFailure&) = delete;
  void Keep() { slots_ = nullptr; }

 private:
  std::vector<WeightSlot>* slots_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_SLOTS_BY_KEY_H_
