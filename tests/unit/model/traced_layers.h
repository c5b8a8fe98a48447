// Small TorchScript modules as a trace writes them, and model directories made of them.
#ifndef TIGHTFIT_TESTS_UNIT_MODEL_TRACED_LAYERS_H_
#define TIGHTFIT_TESTS_UNIT_MODEL_TRACED_LAYERS_H_

#include "server/model/model_directory.h"
#include "tests/unit/model/temporary_directory.h"

#include <torch/script.h>

#include <string>
#include <utility>
#include <vector>

namespace tightfit {

// The layers of TwoLayerGraph: key -> fp16 (or fp32) tensor, in the order of the file.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// conv (Conv2d 8 -> 16, 3x3, padding 1), then over the channels attn1.to_q (Linear 16 -> 32) and
// norm (LayerNorm 32): [B, 8, H, W] -> [B, H*W, 32]. Parameters are empty tensors of `dtype`.
// Module types are named and kept apart as torch.jit.trace does.
torch::jit::Module TwoLayerGraph(at::ScalarType dtype);

// A module whose only method is `source`: "def forward(self, x: Tensor) -> Tensor: ...".
torch::jit::Module OneMethod(const std::string& source);

// The bytes of a .ts file: like the exporter's, without the records that only help debugging.
std::string ArchiveOf(const torch::jit::Module& module);

// `archive` without its debugging records and with `records` (name, bytes) added.
std::string RewriteArchive(const std::string& archive,
                           const std::vector<std::pair<std::string, std::string>>& records);

// Weights for TwoLayerGraph in fp16, within the range of every format.
NamedTensors TwoLayerWeights(uint64_t seed);

// What TwoLayerGraph computes with `weights`, by LibTorch's own functions.
at::Tensor TwoLayerReference(const NamedTensors& weights, const at::Tensor& x);

std::string SafetensorsOf(const NamedTensors& tensors);

// Writes `graph` (as component "unet" in the dtype called `dtype`) and `weights` into `directory`.
ModelDirectory WriteDirectory(const TemporaryDirectory& directory, const std::string& graph,
                              const std::string& dtype, const std::string& weights);

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_MODEL_TRACED_LAYERS_H_
