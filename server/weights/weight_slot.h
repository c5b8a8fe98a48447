// WeightSlot: where a tensor of the weight file goes in a loaded graph.
#ifndef TIGHTFIT_SERVER_WEIGHTS_WEIGHT_SLOT_H_
#define TIGHTFIT_SERVER_WEIGHTS_WEIGHT_SLOT_H_

#include "server/model/torchscript_graph.h"
#include "server/weights/weight.h"

#include <torch/script.h>

#include <cstdint>
#include <vector>

namespace tightfit {

struct WeightSlot {
  ParameterSlot parameter;
  // What the graph's Linear or Conv2d multiplies by; null where the parameter is a plain tensor.
  c10::intrusive_ptr<Weight> weight;

  void SetDense(at::Tensor tensor);
  // The dense tensor or the codes that the slot holds.
  at::Tensor held() const;
};

// A slot for every parameter of `root`, in the order of the graph, each Linear and Conv2d that
// allows it rewritten to take a Weight. Before the first forward only. May throw what LibTorch
// throws.
std::vector<WeightSlot> MakeWeightSlots(const torch::jit::Module& root);

// Copies what every slot holds, packed weights packed, to the memory of `device`; where that throws
// the slots are as they were. Bytes of the copies.
int64_t MoveWeights(std::vector<WeightSlot>& slots, at::Device device);

// Frees what every slot holds; the graph stays ready to be filled.
void ClearWeights(std::vector<WeightSlot>& slots);

// What the Weights of the slots take.
int64_t WeightObjectBytes(const std::vector<WeightSlot>& slots);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_WEIGHT_SLOT_H_
