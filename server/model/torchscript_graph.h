// The parameters of a loaded graph, which of them are to be packed, and the rewriting that lets the
// graph use packed ones.
#ifndef TIGHTFIT_SERVER_MODEL_TORCHSCRIPT_GRAPH_H_
#define TIGHTFIT_SERVER_MODEL_TORCHSCRIPT_GRAPH_H_

#include "kernels/format.h"
#include "server/base/status.h"
#include "server/model/packing_scope.h"

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
  LayerKind kind = LayerKind::kOther;
  // A weight of the scope. `unpackable` is empty, or says why it must stay as it is all the same.
  bool in_scope = false;
  std::string unpackable;

  bool is_packable() const { return in_scope && unpackable.empty(); }
  void Set(at::Tensor tensor) { owner.setattr(attribute, std::move(tensor)); }
};

// Every parameter of `root`, in the order of the graph.
std::vector<ParameterSlot> FindParameterSlots(const torch::jit::Module& root,
                                              const PackingScope& scope);

// Makes the module of `slot` call tightfit::linear or tightfit::conv2d (packed_ops.h) with `shape`,
// that of its dense weight, and `format`. Before the module's first forward only: afterwards
// LibTorch goes on with a plan that it made. Where the graph is not of the known shape it stays as
// it was and slot->unpackable says why. Requires slot->is_packable().
void RewriteForPacking(ParameterSlot* slot, const std::vector<int64_t>& shape, WeightFormat format);

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
