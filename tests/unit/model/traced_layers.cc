#include "tests/unit/model/traced_layers.h"

#include "server/model/sha256.h"
#include "tests/unit/model/safetensors_writer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <caffe2/serialize/inline_container.h>

#include <memory>
#include <sstream>
#include <string_view>

namespace tightfit {
namespace {

namespace jit = torch::jit;

using CompilationUnit = std::shared_ptr<jit::CompilationUnit>;

// A layer with empty weight and bias.
jit::Module Layer(const CompilationUnit& unit, const std::string& type, at::ScalarType dtype,
                  const std::string& call) {
  jit::Module layer(c10::QualifiedName(std::string("__torch__.torch.nn.modules.").append(type)),
                    unit);
  for (const char* name : {"weight", "bias"}) {
    layer.register_parameter(name, at::empty({0}, dtype), /*is_buffer=*/false);
  }
  layer.define(
      std::string("def forward(self, x: Tensor) -> Tensor:\n  return ").append(call).append("\n"));
  return layer;
}

jit::Module Container(const CompilationUnit& unit, const std::string& type) {
  return jit::Module(c10::QualifiedName(std::string("__torch__.").append(type)), unit);
}

std::string_view DtypeOf(const at::Tensor& tensor) {
  if (tensor.scalar_type() == at::kHalf) return "F16";
  return tensor.scalar_type() == at::kBFloat16 ? "BF16" : "F32";
}

at::Tensor Find(const NamedTensors& tensors, std::string_view name) {
  for (const auto& [key, tensor] : tensors) {
    if (key == name) return tensor;
  }
  return {};
}

ListedFile WriteListed(const TemporaryDirectory& directory, const std::string& name,
                       const std::string& bytes) {
  directory.Write(name, bytes);
  return {name, static_cast<int64_t>(bytes.size()), Sha256::HexDigestOf(bytes)};
}

}  // namespace

jit::Module TwoLayerGraph(at::ScalarType dtype) {
  const auto unit = std::make_shared<jit::CompilationUnit>();
  jit::Module root = Container(unit, "tests.TwoLayers");
  root.register_module(
      "conv", Layer(unit, "conv.Conv2d", dtype,
                    "torch._convolution(x, self.weight, self.bias, [1, 1], [1, 1], [1, 1], "
                    "False, [0, 0], 1, False, False, True, True)"));
  jit::Module attention = Container(unit, "tests.Attention");
  attention.register_module(
      "to_q", Layer(unit, "linear.Linear", dtype, "torch.linear(x, self.weight, self.bias)"));
  attention.define("def forward(self, x: Tensor) -> Tensor:\n  return self.to_q.forward(x)\n");
  root.register_module("attn1", attention);
  root.register_module("norm",
                       Layer(unit, "normalization.LayerNorm", dtype,
                             "torch.layer_norm(x, [32], self.weight, self.bias, 1e-05, True)"));
  root.define(
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  y = torch.permute(self.conv.forward(x), [0, 2, 3, 1])\n"
      "  return self.norm.forward(self.attn1.forward(torch.flatten(y, 1, 2)))\n");
  return root;
}

jit::Module OneMethod(const std::string& source) {
  jit::Module module(c10::QualifiedName("__torch__.tests.OneMethod"),
                     std::make_shared<jit::CompilationUnit>());
  module.define(source);
  return module;
}

std::string ArchiveOf(const jit::Module& module) {
  std::ostringstream stream;
  module.save(stream);
  return RewriteArchive(stream.str(), {});
}

std::string RewriteArchive(const std::string& archive,
                           const std::vector<std::pair<std::string, std::string>>& records) {
  std::istringstream in(archive);
  caffe2::serialize::PyTorchStreamReader reader(&in);
  std::string out;
  caffe2::serialize::PyTorchStreamWriter writer([&out](const void* bytes, size_t size) {
    out.append(static_cast<const char*>(bytes), size);
    return size;
  });
  for (const std::string& name : reader.getAllRecords()) {
    const bool written_by_writer = name == "version" || name == "byteorder" || name.front() == '.';
    const bool debugging = name.find(".debug_pkl") != std::string::npos;
    if (written_by_writer || debugging) continue;
    const auto [data, size] = reader.getRecord(name);
    writer.writeRecord(name, data.get(), size);
  }
  for (const auto& [name, bytes] : records) writer.writeRecord(name, bytes.data(), bytes.size());
  writer.writeEndOfFile();
  return out;
}

NamedTensors TwoLayerWeights(uint64_t seed) {
  const at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto random = [&](std::vector<int64_t> shape, double scale) {
    return (at::randn(shape, generator) * scale).clamp(-0.7, 0.7).to(at::kHalf);
  };
  return {{"conv.weight", random({16, 8, 3, 3}, 0.1)},  {"conv.bias", random({16}, 0.2)},
          {"attn1.to_q.weight", random({32, 16}, 0.2)}, {"attn1.to_q.bias", random({32}, 0.2)},
          {"norm.weight", random({32}, 0.5)},           {"norm.bias", random({32}, 0.5)}};
}

at::Tensor TwoLayerReference(const NamedTensors& weights, const at::Tensor& x) {
  const auto weight = [&](std::string_view name) {
    return Find(weights, name).to(x.scalar_type());
  };
  const at::Tensor y = at::conv2d(x, weight("conv.weight"), weight("conv.bias"), {1, 1}, {1, 1});
  const at::Tensor q = at::linear(y.permute({0, 2, 3, 1}).flatten(1, 2),
                                  weight("attn1.to_q.weight"), weight("attn1.to_q.bias"));
  return at::layer_norm(q, {32}, weight("norm.weight"), weight("norm.bias"), 1e-5);
}

std::string SafetensorsOf(const NamedTensors& tensors) {
  SafetensorsWriter writer;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor contiguous = tensor.contiguous();
    writer.Add(name, DtypeOf(tensor), tensor.sizes().vec(),
               {static_cast<const char*>(contiguous.const_data_ptr()), contiguous.nbytes()});
  }
  return writer.Bytes();
}

ModelDirectory WriteDirectory(const TemporaryDirectory& directory, const std::string& graph,
                              const std::string& dtype, const std::string& weights) {
  ModelDirectory model;
  model.path = directory.path();
  ManifestComponent& unet = model.components["unet"];
  unet.graphs[dtype] =
      WriteListed(directory, std::string("unet.").append(dtype).append(".ts"), graph);
  unet.weights = WriteListed(directory, "unet.safetensors", weights);
  return model;
}

}  // namespace tightfit
