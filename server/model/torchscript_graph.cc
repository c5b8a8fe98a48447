#include "server/model/torchscript_graph.h"

#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

namespace tightfit {
namespace {

namespace jit = torch::jit;

constexpr char kWeight[] = "weight";
constexpr char kWeightObject[] = "tightfit_weight";

LayerKind KindOf(const jit::Module& module) {
  if (!module.type()->name().has_value()) return LayerKind::kOther;
  const c10::QualifiedName& name = *module.type()->name();
  const std::string& path = name.qualifiedName();
  if (name.name() == "Linear" && path.find(".torch.nn.modules.linear.") != std::string::npos) {
    return LayerKind::kLinear;
  }
  if (name.name() == "Conv2d" && path.find(".torch.nn.modules.conv.") != std::string::npos) {
    return LayerKind::kConv2d;
  }
  return LayerKind::kOther;
}

bool ReadsWeight(const jit::Node* node) {
  return node->kind() == c10::prim::GetAttr && node->s(c10::attr::name) == kWeight;
}

// The only node `kind` of the form op(x, GetAttr[weight](self), ...); nullptr where there is
// another number of them or the weight has another use.
jit::Node* FindProduct(jit::Graph& graph, const char* kind) {
  jit::Node* found = nullptr;
  int reads = 0;
  for (jit::Node* node : graph.nodes()) {
    reads += ReadsWeight(node) ? 1 : 0;
    if (node->kind() != c10::Symbol::fromQualString(kind)) continue;
    jit::Node* const weight = node->input(1)->node();
    const bool own_weight = ReadsWeight(weight) && weight->input(0) == graph.inputs()[0];
    if (!own_weight || weight->output()->uses().size() != 1 || found != nullptr) return nullptr;
    found = node;
  }
  return reads == 1 ? found : nullptr;
}

bool IsConstantFalse(const jit::Value* value) {
  const std::optional<c10::IValue> constant = jit::toIValue(value);
  return constant.has_value() && constant->isBool() && !constant->toBool();
}

// Inputs of aten::_convolution.
enum ConvolutionInput {
  kBias = 2,
  kStride = 3,
  kPadding = 4,
  kDilation = 5,
  kTransposed = 6,
  kGroups = 8
};

template <typename Visit>
void VisitNodes(jit::Block* block, const Visit& visit) {
  for (jit::Node* node : block->nodes()) {
    visit(node);
    for (jit::Block* inner : node->blocks()) VisitNodes(inner, visit);
  }
}

// Visits every node of every method of every module once.
template <typename Visit>
void VisitGraphs(const jit::Module& root, const Visit& visit) {
  std::set<const c10::ClassType*> seen;
  for (const jit::Module& module : root.modules()) {
    if (!seen.insert(module.type().get()).second) continue;
    for (jit::Function* method : module.type()->methods()) {
      VisitNodes(jit::toGraphFunction(*method).graph()->block(), visit);
    }
  }
}

// Types of the modules whose weight is read by code other than their own.
std::set<const c10::Type*> TypesReadFromOutside(const jit::Module& root) {
  std::set<const c10::Type*> types;
  VisitGraphs(root, [&](jit::Node* node) {
    if (!ReadsWeight(node) || node->input(0) == node->owningGraph()->inputs()[0]) return;
    types.insert(node->input(0)->type().get());
  });
  return types;
}

}  // namespace

std::vector<ParameterSlot> FindParameterSlots(const jit::Module& root) {
  std::map<const c10::ClassType*, int> modules_of_type;
  for (const jit::Module& module : root.modules()) ++modules_of_type[module.type().get()];
  const std::set<const c10::Type*> read_from_outside = TypesReadFromOutside(root);

  std::vector<ParameterSlot> slots;
  for (const auto& [name, module] : root.named_modules()) {
    const LayerKind kind = KindOf(module);
    for (const auto& parameter : module.named_parameters(/*recurse=*/false)) {
      ParameterSlot slot;
      slot.key = name.empty() ? parameter.name : name + "." + parameter.name;
      slot.module = name;
      slot.owner = module;
      slot.attribute = parameter.name;
      if (slot.attribute == kWeight) slot.kind = kind;
      if (modules_of_type[module.type().get()] > 1) {
        slot.why_plain = "its code is shared with another module";
      } else if (read_from_outside.count(module.type().get()) > 0) {
        slot.why_plain = "another module reads its weight";
      } else if (module.find_method("forward1").has_value()) {
        slot.why_plain = "the graph calls it more than once";
      }
      slots.push_back(std::move(slot));
    }
  }
  return slots;
}

void RewriteForWeight(ParameterSlot* slot, const c10::IValue& weight) {
  const bool conv = slot->kind == LayerKind::kConv2d;
  const std::shared_ptr<jit::Graph> graph =
      jit::toGraphFunction(slot->owner.get_method("forward").function()).graph();
  jit::Node* const node = FindProduct(*graph, conv ? "aten::_convolution" : "aten::linear");
  if (node == nullptr || (conv && !IsConstantFalse(node->input(kTransposed)))) {
    slot->why_plain = "its graph is not that of a plain Linear or Conv2d";
    return;
  }
  slot->owner.register_attribute(kWeightObject, weight.type(), weight);
  const jit::WithInsertPoint insert_point(node);
  std::vector<jit::Value*> inputs{
      node->input(0), graph->insertGetAttr(graph->inputs()[0], kWeightObject), node->input(kBias)};
  if (conv) {
    for (const int index : {kStride, kPadding, kDilation, kGroups}) {
      inputs.push_back(node->input(index));
    }
  }
  jit::Node* const product = graph->create(
      c10::Symbol::fromQualString(conv ? "tightfit::conv2d" : "tightfit::linear"), inputs, 1);
  product->output()->setType(node->output()->type());
  product->setSourceRange(node->sourceRange());
  product->insertBefore(node);
  node->output()->replaceAllUsesWith(product->output());
  node->destroy();
  jit::EliminateDeadCode(graph);
  graph->lint();
}

void RetargetDevice(const jit::Module& root, at::Device device) {
  VisitGraphs(root, [&](jit::Node* node) {
    if (node->kind() != c10::prim::Constant || !node->hasAttribute(c10::attr::value)) return;
    if (node->output()->type()->kind() == c10::TypeKind::DeviceObjType) {
      node->s_(c10::attr::value, device.str());
    } else if (node->kindOf(c10::attr::value) == jit::AttributeKind::t) {
      const at::Tensor constant = node->t(c10::attr::value);
      if (constant.dim() > 0) node->t_(c10::attr::value, constant.to(device));
    }
  });
  for (jit::Module module : root.modules()) {
    for (const auto& buffer : module.named_buffers(/*recurse=*/false)) {
      module.setattr(buffer.name, buffer.value.to(device));
    }
  }
}

int64_t TensorBytes(const jit::Module& root) {
  std::set<const c10::StorageImpl*> seen;
  int64_t bytes = 0;
  const auto count = [&](const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.has_storage()) return;
    const c10::Storage& storage = tensor.storage();
    if (seen.insert(storage.unsafeGetStorageImpl()).second) {
      bytes += static_cast<int64_t>(storage.nbytes());
    }
  };
  for (const at::Tensor& parameter : root.parameters()) count(parameter);
  for (const at::Tensor& buffer : root.buffers()) count(buffer);
  VisitGraphs(root, [&](const jit::Node* node) {
    if (node->kind() != c10::prim::Constant || !node->hasAttribute(c10::attr::value)) return;
    if (node->kindOf(c10::attr::value) == jit::AttributeKind::t) count(node->t(c10::attr::value));
  });
  return bytes;
}

}  // namespace tightfit
