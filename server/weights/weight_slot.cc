#include "server/weights/weight_slot.h"

#include "server/weights/operators.h"

#include <utility>

namespace tightfit {

void WeightSlot::SetDense(at::Tensor tensor) {
  if (weight) {
    weight->SetDense(std::move(tensor));
  } else {
    parameter.Set(std::move(tensor));
  }
}

at::Tensor WeightSlot::held() const {
  return weight ? weight->tensor() : parameter.owner.attr(parameter.attribute).toTensor();
}

std::vector<WeightSlot> MakeWeightSlots(const torch::jit::Module& root) {
  TORCH_CHECK(WeightType() != nullptr, "the operators of packed weights are not registered");
  std::vector<WeightSlot> slots;
  for (ParameterSlot& parameter : FindParameterSlots(root)) {
    WeightSlot slot{.parameter = std::move(parameter), .weight = {}};
    if (slot.parameter.takes_weight()) {
      auto weight = c10::make_intrusive<Weight>();
      RewriteForWeight(&slot.parameter, c10::IValue(weight));
      if (slot.parameter.takes_weight()) slot.weight = std::move(weight);
    }
    slots.push_back(std::move(slot));
  }
  return slots;
}

int64_t MoveWeights(std::vector<WeightSlot>& slots, at::Device device) {
  std::vector<Weight> weights(slots.size());
  std::vector<at::Tensor> tensors(slots.size());
  int64_t bytes = 0;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].weight) {
      weights[i] = slots[i].weight->CopyTo(device);
      bytes += weights[i].size_bytes();
    } else {
      tensors[i] = CopyOf(slots[i].held(), device);
      bytes += static_cast<int64_t>(tensors[i].nbytes());
    }
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].weight) {
      slots[i].weight->Swap(weights[i]);
    } else {
      slots[i].SetDense(std::move(tensors[i]));
    }
  }
  return bytes;
}

void ClearWeights(std::vector<WeightSlot>& slots) {
  for (WeightSlot& slot : slots) {
    if (slot.weight) {
      slot.weight->Clear();
    } else {
      slot.SetDense(at::empty({0}, slot.held().options()));
    }
  }
}

int64_t WeightObjectBytes(const std::vector<WeightSlot>& slots) {
  int64_t bytes = 0;
  for (const WeightSlot& slot : slots) {
    if (slot.weight && slot.weight->tensor().defined()) bytes += slot.weight->size_bytes();
  }
  return bytes;
}

}  // namespace tightfit
