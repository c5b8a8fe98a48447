#include "server/model/torchscript_archive.h"

#include "tests/unit/model/traced_layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/script.h>

#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

constexpr char kFile[] = "unet.fp32.ts";

Result<torch::jit::Module> Load(const std::string& bytes) { return LoadTorchScript(kFile, bytes); }

TEST(TorchScriptArchiveTest, LoadsAGraphOfAllowedOperators) {
  const auto module = Load(ArchiveOf(TwoLayerGraph(at::kFloat)));
  ASSERT_TRUE(module.ok()) << module.status().ForLog();
  EXPECT_EQ((*module).named_parameters().size(), 6u);
}

TEST(TorchScriptArchiveTest, LoadsWhatItsTestsRewrite) {
  // Control of RewriteArchive: an archive that is only copied stays loadable.
  const auto module = Load(RewriteArchive(ArchiveOf(TwoLayerGraph(at::kFloat)), {}));
  EXPECT_TRUE(module.ok()) << module.status().ForLog();
}

struct Forbidden {
  const char* source;
  const char* named;  // within the message
};

TEST(TorchScriptArchiveTest, RefusesAndNamesForbiddenOperators) {
  const std::vector<Forbidden> cases = {
      {"def forward(self, x: Tensor) -> Tensor:\n  torch.save(x, \"stolen\")\n  return x\n",
       "aten::save"},
      {"def forward(self, x: Tensor) -> Tensor:\n"
       "  return x + torch.from_file(\"/etc/passwd\", False, 4)\n",
       "aten::from_file"},
      {"def forward(self, x: Tensor) -> Tensor:\n  print(x)\n  return x\n", "print"},
      // No call shows in the text of these: the graph itself tells.
      {"def forward(self, x: Tensor) -> Tensor:\n  while True:\n    x = x + 1\n  return x\n",
       "prim::Loop"},
      {"def forward(self, x: Tensor) -> Tensor:\n  assert x.size(0) > 1\n  return x\n", "prim::"},
      {"def other(self, x: Tensor) -> Tensor:\n  return x\n", "other"},
  };
  for (const Forbidden& forbidden : cases) {
    const auto module = Load(ArchiveOf(OneMethod(forbidden.source)));
    ASSERT_FALSE(module.ok()) << forbidden.source;
    EXPECT_EQ(module.status().code(), StatusCode::kFailedPrecondition) << forbidden.source;
    EXPECT_EQ(module.status().reason(), "FORBIDDEN_OPERATOR") << forbidden.source;
    EXPECT_THAT(module.status().message(), HasSubstr(forbidden.named)) << forbidden.source;
    EXPECT_THAT(module.status().message(), HasSubstr(kFile)) << forbidden.source;
  }
}

TEST(TorchScriptArchiveTest, RefusesCodeThatWouldRunWhileLoading) {
  torch::jit::Module module(c10::QualifiedName("__torch__.tests.Armed"),
                            std::make_shared<torch::jit::CompilationUnit>());
  module.register_attribute("training", c10::BoolType::get(), false);
  module.define(
      "def forward(self, x: Tensor) -> Tensor:\n  return x\n"
      "def __getstate__(self) -> int:\n  return 7\n"
      "def __setstate__(self, state: int) -> None:\n  assert False, \"this code ran\"\n");
  const auto loaded = Load(ArchiveOf(module));
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.status().reason(), "FORBIDDEN_OPERATOR");
  EXPECT_THAT(loaded.status().message(), HasSubstr("__getstate__"));
}

TEST(TorchScriptArchiveTest, RefusesAPickleThatNamesOtherGlobals) {
  const std::string pickle = std::string("\x80\x02", 2) + "cos\nsystem\n.";
  const auto module =
      Load(RewriteArchive(ArchiveOf(TwoLayerGraph(at::kFloat)), {{"extra.pkl", pickle}}));
  EXPECT_EQ(module.status().reason(), "FORBIDDEN_OPERATOR");
  EXPECT_THAT(module.status().message(), HasSubstr("os.system"));
}

TEST(TorchScriptArchiveTest, ScansSourcesThatNoModuleUses) {
  const auto module = Load(RewriteArchive(
      ArchiveOf(TwoLayerGraph(at::kFloat)),
      {{"code/__torch__/unused.py", "def free(x: Tensor) -> Tensor:\n  return x\n"}}));
  EXPECT_EQ(module.status().reason(), "FORBIDDEN_OPERATOR");
  EXPECT_THAT(module.status().message(), HasSubstr("free"));
}

TEST(TorchScriptArchiveTest, RefusesRecordsThatNoGraphNeeds) {
  for (const char* record : {"extra/notes.txt", "code/evil.so", "bytecode", "CODE/__torch__.PY"}) {
    const auto module = Load(RewriteArchive(ArchiveOf(TwoLayerGraph(at::kFloat)), {{record, "x"}}));
    EXPECT_EQ(module.status().reason(), "BAD_MODEL_DIRECTORY") << record;
  }
}

TEST(TorchScriptArchiveTest, RefusesEverythingThatIsNoArchive) {
  const std::string archive = ArchiveOf(TwoLayerGraph(at::kFloat));
  for (const std::string& bytes : {std::string(), std::string("PK"), std::string(1000, 'x'),
                                   archive.substr(0, 500), archive.substr(0, archive.size() - 1)}) {
    const auto module = Load(bytes);
    ASSERT_FALSE(module.ok()) << bytes.size() << " bytes";
    EXPECT_EQ(module.status().reason(), "BAD_MODEL_DIRECTORY") << bytes.size() << " bytes";
    EXPECT_EQ(module.status().message().find("caffe2"), std::string::npos);
  }
}

}  // namespace
}  // namespace tightfit
