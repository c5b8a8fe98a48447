#include "server/weights/slots_by_key.h"

#include "server/model/model_errors.h"

namespace tightfit {

Result<SlotsByKey> FindSlots(std::string_view file, const std::vector<NamedShape>& tensors,
                             std::vector<WeightSlot>& slots) {
  SlotsByKey missing;
  for (WeightSlot& slot : slots) missing[slot.parameter.key] = &slot;
  SlotsByKey by_key = missing;
  for (const NamedShape& tensor : tensors) {
    const auto slot = missing.find(tensor.name);
    if (slot == missing.end()) continue;
    const size_t rank = slot->second->parameter.kind == LayerKind::kConv2d ? 4 : 2;
    if (slot->second->weight && tensor.shape.size() != rank) {
      const std::string name(tensor.name);
      return BadModelDirectory(
          file, "not of " + std::to_string(rank) + " dimensions, as its layer needs: " + name);
    }
    missing.erase(slot);
  }
  if (missing.empty()) return by_key;
  return BadModelDirectory(
      file, "the graph's parameter \"" + std::string(missing.begin()->first) + "\" has no tensor");
}

}  // namespace tightfit
