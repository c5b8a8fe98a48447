// The parameters of a loaded graph, and the rewriting that lets its Linear and Conv2d take weights
// as objects.
#ifndef TIGHTFIT_SERVER_MODEL_TORCHSCRIPT_GRAPH_H_
#define TIGHTFIT_SERVER_MODEL_TORCHSCRIPT_GRAPH_H_

#include "server/base/status.h"
#include "server/model/layer_kind.h"

#include <torch/script.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// Where one parameter's tensor goes. Holds its module, never a tensor.
struct ParameterSlot {
  std::string key;  // "down_blocks.0.resnets.0.conv1.weight": the tensor's name in the weight file
  std::string module;  // "down_blocks.0.resnets.0.conv1"
  torch::jit::Module owner;
  std::string attribute;  // "weight"
  // Of the weight of a Linear or Conv2d; kOther for every other parameter.
  LayerKind kind = LayerKind::kOther;
  // Of such a weight: empty, or why the graph must keep it as a plain tensor all the same.
  std::string why_plain;

  bool takes_weight() const { return kind != LayerKind::kOther && why_plain.empty(); }
  void Set(at::Tensor tensor) { owner.setattr(attribute, std::move(tensor)); }
};

// Every parameter of `root`, in the order of the graph.
std::vector<ParameterSlot> FindParameterSlots(const torch::jit::Module& root);

// Makes the module of `slot` call tightfit::linear or tightfit::conv2d (weights/operators.h) with
// `weight`, an object of the operators' type, instead of its parameter, which no code reads any
// more. Before the module's first forward only: afterwards LibTorch goes on with a plan that it
// made. Where the graph is not of the known shape it stays as it was and slot->why_plain says why.
// Requires slot->takes_weight().
void RewriteForWeight(ParameterSlot* slot, const c10::IValue& weight);

// Makes every graph compute on `device`: replaces the device that tracing has put into constants,
// and moves buffers and tensors that are constants. Those of one element without dimensions stay on
// the CPU: they take part in the arithmetic of shapes, whose results the CPU needs, and operators
// take them beside tensors of any device. Parameters are for whoever fills them. Before the first
// forward only.
void RetargetDevice(const torch::jit::Module& root, at::Device device);

// Bytes of all tensors that the module keeps: parameters, buffers and constants of graphs.
int64_t TensorBytes(const torch::jit::Module& root);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_TORCHSCRIPT_GRAPH_H_
