// Texts and pickles of TorchScript archives made to mislead, beside those of
// graph_source_scan_test.cc.
#include "server/model/graph_source_scan.h"
#include "tests/unit/model/refusal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

constexpr char kFile[] = "unet.fp32.ts";

std::string Method(std::string_view body) {
  return std::string("class M(Module):\n  def forward(self, x: Tensor) -> Tensor:\n    ")
             .append(body) +
         "\n";
}

TEST(HostileArchivesTest, SourcesAreRefusedQuicklyWithAReason) {
  const std::string long_name(1 << 20, 'x');
  const std::vector<std::pair<std::string, std::string>> sources = {
      {"a text that hides a quote", Method("_0 = \"a\\\"); torch.save(x, \"b\")")},
      {"a text of the other quote", Method("_0 = 'a\"'; torch.save(x, \"b\")")},
      {"a triple-quoted text", Method("_0 = \"\"\"a\ntorch.save(x)\"\"\"")},
      {"a backslash at the end", Method("_0 = \"a\\")},
      {"a line that goes on", Method("_0 = torch.\\\nsave(x)")},
      {"an operator over two lines", Method("_0 = torch.\nsave(x)")},
      {"spaces within an operator", Method("_0 = torch .\tsave (x)")},
      {"a comment that ends", Method("# harmless\n    _0 = torch.save(x)")},
      {"a carriage return within a comment", Method("# harmless\r    _0 = torch.save(x)") + "\r"},
      {"a form feed", Method("_0 =\f torch.save(x)")},
      {"NUL", Method(std::string("_0 = x") + '\0' + "torch.save(x)")},
      {"a letter of another script", Method("_0 = t\xD0\xBErch.add(x, x)")},
      {"a full-width bracket", Method("_0 = torch.save\xEF\xBC\x88x)")},
      {"an operator without a call", Method("_0 = torch.save\n    _0(x)")},
      {"an operator in brackets", Method("_0 = (torch.save)(x)")},
      {"the result of a call", Method("_0 = getattr(x, \"save\")(x).run(x)")},
      {"an overload of a forbidden operator", Method("_0 = torch.save.default(x)")},
      {"a forbidden namespace", Method("_0 = ops.aten.from_file.out(x)")},
      {"__setstate__", "class M(Module):\n  def __setstate__(self, s: int) -> None:\n    pass\n"},
      {"__getstate__", "class M(Module):\n  def __getstate__(self) -> int:\n    return 1\n"},
      {"__init__", "class M(Module):\n  def __init__(self) -> None:\n    pass\n"},
      {"forward and more", "class M(Module):\n  def forward_pre_hook(self) -> None:\n    pass\n"},
      {"another class", "class M(object):\n  x : int\n"},
      {"an interface", "class M(ModuleInterface):\n  pass\n"},
      {"a definition over a tab", "class M(Module):\n  def\t__setstate__(self) -> None:\n"},
      {"an import as another", "from torch import save as add\n"},
      {"a name of a mebibyte", Method(long_name + "(x)")},
      {"an operator of a mebibyte", Method("torch." + long_name + "(x)")},
  };
  for (const auto& [what, source] : sources) {
    const Status status =
        ExpectRefusal(what, 2 * source.size(), [&] { return ScanGraphSource(kFile, source); });
    EXPECT_EQ(status.reason(), "FORBIDDEN_OPERATOR") << what;
    EXPECT_THAT(status.message(), HasSubstr(kFile)) << what;
  }
}

// LibTorch's parser calls itself for each of these, until its stack is full.
TEST(HostileArchivesTest, SourcesThatNestDeeplyAreRefused) {
  constexpr int kDepth = 1 << 16;
  for (const auto& [what, open] :
       std::vector<std::pair<std::string, std::string>>{{"round brackets", "("},
                                                        {"square brackets", "["},
                                                        {"curly brackets", "{"},
                                                        {"signs", "-"},
                                                        {"negations", "not "},
                                                        {"sums", "x + "},
                                                        {"conjunctions", "x and "},
                                                        {"conditions", "x if x else "},
                                                        {"subscripts", "x[0]["},
                                                        {"brackets over many lines", "(\n"}}) {
    std::string nested;
    for (int i = 0; i < kDepth; ++i) nested += open;
    const std::string source = Method("_0 = " + nested);
    const Status status =
        ExpectRefusal(what, 2 * source.size(), [&] { return ScanGraphSource(kFile, source); });
    EXPECT_EQ(status.reason(), "FORBIDDEN_OPERATOR") << what;
  }
  std::string subscripts = "x";
  std::string attributes = "x";
  std::string blocks;
  for (int i = 0; i < 1000; ++i) {
    subscripts += "[0]";
    attributes += ".a";
    blocks += std::string(static_cast<size_t>(i), ' ') + "if x:\n";
  }
  for (const std::string& body : {"_0 = " + subscripts, "_0 = " + attributes, "x\n" + blocks}) {
    EXPECT_FALSE(ScanGraphSource(kFile, Method(body)).ok()) << body.substr(0, 20);
  }
}

std::string Pickle(std::string_view body) { return std::string("\x80\x02").append(body); }

TEST(HostileArchivesTest, PicklesAreRefusedQuicklyWithAReason) {
  using namespace std::string_literals;
  const std::string long_name(1 << 20, '\x01');
  const std::vector<std::pair<std::string, std::string>> pickles = {
      {"nothing", ""},
      {"only a protocol", Pickle("")},
      {"protocol 4 with a frame", "\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00."s},
      {"a module by stack", Pickle("X\x02\0\0\0osX\x06\0\0\0system\x93."s)},
      {"a reduced system call", Pickle("cposix\nsystem\n(X\x02\0\0\0idtR."s)},
      {"an instance by INST", Pickle("(ios\nsystem\n.")},
      {"an extension", Pickle("\x82\x01.")},
      {"a persistent id as text", Pickle("Pid\n.")},
      {"a text by line", Pickle("S'os'\n.")},
      {"a number by line", Pickle("I1\n.")},
      {"a long number by size", Pickle("\x8b\xff\xff\xff\x7f.")},
      {"a long number past the end", Pickle("\x8a\xff.")},
      {"bytes", Pickle("C\x02os.")},
      {"a text of 2^32 - 1 bytes", Pickle("X\xff\xff\xff\xff.")},
      {"a text one byte too long", Pickle("X\x02\0\0\0a."s)},
      {"a second pickle behind it", Pickle("N.") + Pickle("N.")},
      {"a byte behind it", Pickle("N.x")},
      {"a global without an end", Pickle("ctorch")},
      {"a global without a name", Pickle("ctorch\n")},
      {"a global of an empty module", Pickle("c\nsystem\n.")},
      {"a global with NUL", Pickle("c__torch__\0os\nsystem\n."s)},
      {"a global of a mebibyte", Pickle("c" + long_name + "\nx\n.")},
      {"a global that is no text", Pickle("c\xff\xfe\x1b[2J\nx\n.")},
      {"a storage of another module", Pickle("cos\nFloatStorage\n.")},
      {"a reference to Python", Pickle("c__builtin__\ngetattr\n.")},
  };
  for (const auto& [what, pickle] : pickles) {
    const Status status =
        ExpectRefusal(what, 2 * pickle.size(), [&] { return ScanPickle(kFile, pickle); });
    EXPECT_THAT(status.reason(), testing::AnyOf("FORBIDDEN_OPERATOR", "BAD_MODEL_DIRECTORY"))
        << what;
    EXPECT_THAT(status.message(), HasSubstr(kFile)) << what;
  }
}

TEST(HostileArchivesTest, AFlippedByteOfAPickleNeverNamesAnotherGlobal) {
  const std::string whole =
      Pickle("ctorch._utils\n_rebuild_tensor_v2\n(ctorch\nFloatStorage\nK\x05X\x03") +
      std::string(3, '\0') + "xyzt.";
  ASSERT_TRUE(ScanPickle(kFile, whole).ok());
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int difference = 1; difference < 256; ++difference) {
      std::string pickle = whole;
      pickle[at] = static_cast<char>(pickle[at] ^ difference);
      if (!ScanPickle(kFile, pickle).ok()) continue;
      // The globals that are left are those of before, or another storage.
      EXPECT_TRUE(pickle.find("Storage\n") != std::string::npos ||
                  pickle.find("ctorch\n") == std::string::npos)
          << at;
      EXPECT_EQ(pickle.find("cos\n"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace tightfit
