#include "server/model/torchscript_graph.h"

#include "server/weights/operators.h"
#include "server/weights/weight.h"
#include "tests/unit/model/traced_layers.h"

#include <gtest/gtest.h>
#include <torch/script.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

namespace tightfit {
namespace {

namespace jit = torch::jit;

// Keys of the parameters that a Weight can take the place of.
std::set<std::string> ReplaceableKeys(const jit::Module& module) {
  std::set<std::string> keys;
  for (const ParameterSlot& slot : FindParameterSlots(module)) {
    if (slot.takes_weight()) keys.insert(slot.key);
  }
  return keys;
}

// A module of the type and name of torch.nn.Linear.
jit::Module Linear(const std::shared_ptr<jit::CompilationUnit>& unit, const std::string& forward) {
  jit::Module linear(c10::QualifiedName("__torch__.torch.nn.modules.linear.Linear"), unit,
                     /*shouldMangle=*/true);
  linear.register_parameter("weight", at::ones({2, 3}), /*is_buffer=*/false);
  linear.define(forward);
  return linear;
}

constexpr char kPlainForward[] =
    "def forward(self, x: Tensor) -> Tensor:\n  return torch.linear(x, self.weight)\n";

ParameterSlot SlotOf(const jit::Module& module, const std::string& key) {
  for (ParameterSlot& slot : FindParameterSlots(module)) {
    if (slot.key == key) return slot;
  }
  ADD_FAILURE() << "no parameter " << key;
  return {};
}

TEST(FindParameterSlotsTest, TakesTheWeightsOfLinearAndConv2dAndNeverNormsOrBiases) {
  const jit::Module module = TwoLayerGraph(at::kFloat);
  EXPECT_EQ(ReplaceableKeys(module), (std::set<std::string>{"attn1.to_q.weight", "conv.weight"}));
  EXPECT_EQ(FindParameterSlots(module).size(), 6u);
}

TEST(FindParameterSlotsTest, RefusesModulesThatShareTheirCode) {
  const auto unit = std::make_shared<jit::CompilationUnit>();
  jit::Module root(c10::QualifiedName("__torch__.tests.Root"), unit);
  const jit::Module linear = Linear(unit, kPlainForward);
  root.register_module("a", linear);
  root.register_module("b", linear.deepcopy());
  root.register_module("c", Linear(unit, kPlainForward));
  EXPECT_EQ(ReplaceableKeys(root), std::set<std::string>{"c.weight"});
  EXPECT_EQ(SlotOf(root, "a.weight").why_plain, "its code is shared with another module");
}

TEST(FindParameterSlotsTest, RefusesAModuleThatIsCalledTwice) {
  const auto unit = std::make_shared<jit::CompilationUnit>();
  jit::Module root(c10::QualifiedName("__torch__.tests.Root"), unit);
  root.register_module(
      "a", Linear(unit, std::string(kPlainForward) + "def forward1(self, x: Tensor) -> Tensor:\n"
                                                     "  return torch.linear(x, self.weight)\n"));
  EXPECT_EQ(SlotOf(root, "a.weight").why_plain, "the graph calls it more than once");
}

TEST(FindParameterSlotsTest, RefusesAWeightThatAnotherModuleReads) {
  const auto unit = std::make_shared<jit::CompilationUnit>();
  jit::Module root(c10::QualifiedName("__torch__.tests.Root"), unit);
  root.register_module("a", Linear(unit, kPlainForward));
  root.register_module("b", Linear(unit, kPlainForward));
  root.define(
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  return torch.matmul(self.b.forward(self.a.forward(x)), self.a.weight)\n");
  EXPECT_EQ(SlotOf(root, "a.weight").why_plain, "another module reads its weight");
  EXPECT_TRUE(SlotOf(root, "b.weight").takes_weight());
}

TEST(RewriteForWeightTest, CallsTheOperatorWithTheWeightInPlaceOfTheParameter) {
  const auto unit = std::make_shared<jit::CompilationUnit>();
  jit::Module root(c10::QualifiedName("__torch__.tests.Root"), unit);
  root.register_module("a", Linear(unit, kPlainForward));
  ParameterSlot slot = SlotOf(root, "a.weight");
  const auto weight = c10::make_intrusive<Weight>();
  RewriteForWeight(&slot, c10::IValue(weight));
  ASSERT_EQ(slot.why_plain, "");
  const std::string graph = slot.owner.get_method("forward").graph()->toString();
  EXPECT_NE(graph.find("tightfit::linear"), std::string::npos) << graph;
  EXPECT_EQ(graph.find("aten::linear"), std::string::npos) << graph;
  weight->SetDense(at::full({2, 3}, 2.0));
  EXPECT_TRUE(at::equal(slot.owner.forward({at::ones({1, 3})}).toTensor(), at::full({1, 2}, 6.0)));
  weight->SetDense(at::full({2, 3}, 5.0));
  EXPECT_TRUE(at::equal(slot.owner.forward({at::ones({1, 3})}).toTensor(), at::full({1, 2}, 15.0)))
      << "what the object holds at the call counts";
}

TEST(RewriteForWeightTest, LeavesAnUnknownGraphAsItWas) {
  const std::vector<std::string> unknown = {
      // The weight has a second use.
      "  return torch.linear(x, self.weight) + torch.sum(self.weight)\n",
      // Another weight than the module's own.
      "  return torch.linear(x, torch.mul(self.weight, 2))\n",
      "  return torch.matmul(x, torch.transpose(self.weight, 0, 1))\n",
  };
  for (const std::string& body : unknown) {
    const auto unit = std::make_shared<jit::CompilationUnit>();
    jit::Module root(c10::QualifiedName("__torch__.tests.Root"), unit);
    root.register_module(
        "a", Linear(unit, std::string("def forward(self, x: Tensor) -> Tensor:\n").append(body)));
    ParameterSlot slot = SlotOf(root, "a.weight");
    const std::string before = slot.owner.get_method("forward").graph()->toString();
    RewriteForWeight(&slot, c10::IValue(c10::make_intrusive<Weight>()));
    EXPECT_EQ(slot.why_plain, "its graph is not that of a plain Linear or Conv2d") << body;
    EXPECT_EQ(slot.owner.get_method("forward").graph()->toString(), before);
  }
}

TEST(RetargetDeviceTest, ReplacesTheDeviceOfEveryConstant) {
  jit::Module module = OneMethod(
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  return torch.arange(0, 4, dtype=6, layout=None, device=torch.device(\"cpu\"), "
      "pin_memory=False)\n");
  RetargetDevice(module, at::kMeta);
  EXPECT_TRUE(module.forward({at::ones({1})}).toTensor().is_meta());
}

TEST(RetargetDeviceTest, MovesBuffersAndTensorsButLeavesTheArithmeticOfShapesToTheCpu) {
  const auto unit = std::make_shared<jit::CompilationUnit>();
  jit::Module root(c10::QualifiedName("__torch__.tests.Root"), unit);
  root.register_buffer("table", at::ones({3}));
  root.define("def forward(self, x: Tensor) -> Tensor:\n  return x\n");
  const std::shared_ptr<jit::Graph> graph = root.get_method("forward").graph();
  const auto constant = [&](const at::Tensor& value) {
    const jit::WithInsertPoint insert_point(graph->return_node());
    return graph->insertConstant(value)->node();
  };
  jit::Node* const scalar = constant(at::scalar_tensor(2, at::kLong));
  jit::Node* const row = constant(at::ones({2}));
  RetargetDevice(root, at::kMeta);
  EXPECT_TRUE(root.attr("table").toTensor().is_meta());
  EXPECT_TRUE(row->t(c10::attr::value).is_meta());
  EXPECT_TRUE(scalar->t(c10::attr::value).is_cpu());
}

TEST(TensorBytesTest, CountsEachStorageOnce) {
  const auto unit = std::make_shared<jit::CompilationUnit>();
  jit::Module root(c10::QualifiedName("__torch__.tests.Root"), unit);
  const at::Tensor shared = at::ones({10});
  root.register_parameter("a", shared, /*is_buffer=*/false);
  root.register_parameter("b", shared.view({2, 5}), /*is_buffer=*/false);
  root.register_buffer("c", at::ones({3}, at::kByte));
  EXPECT_EQ(TensorBytes(root), 43);
}

}  // namespace
}  // namespace tightfit
