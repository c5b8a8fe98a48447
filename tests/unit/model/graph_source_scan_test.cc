#include "server/model/graph_source_scan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

constexpr char kFile[] = "unet.fp32.ts";

std::string Method(const std::string& body) {
  return "class M(Module):\n  __parameters__ = [\"weight\", ]\n  weight : Tensor\n"
         "  def forward(self: __torch__.M,\n    x: Tensor) -> Tensor:\n" +
         body;
}

TEST(GraphSourceScanTest, AcceptsWhatATraceWrites) {
  const Status status = ScanGraphSource(kFile, Method(R"py(    conv_in = self.conv_in
    _0 = getattr(layers0, "1")
    _1 = ops.prim.NumToTensor(torch.size(x, 0))
    _2 = torch.arange(0, 48, dtype=6, layout=None, device=torch.device("cpu"), pin_memory=False)
    _3 = torch.mul(_2, CONSTANTS.c0)
    _4 = annotate(List[Optional[Tensor]], [_2, _3])
    _5 = torch.layer_norm(x, [64], weight, bias, 1.0000000000000001e-05)
    _6, _7, = (conv_in).forward((self.act).forward1(x, ), int(_1), )
    return (torch.add(_5, -1.5e+3), "torch.save(x)")
)py"));
  EXPECT_TRUE(status.ok()) << status.ForLog();
}

struct Forbidden {
  std::string source;
  const char* named;  // within the message
};

TEST(GraphSourceScanTest, RefusesAndNamesWhatIsNotAllowed) {
  const std::vector<Forbidden> cases = {
      {Method("    _0 = torch.save(x, \"/tmp/x\")\n"), "aten::save"},
      {Method("    _0 = torch.from_file(\"/etc/passwd\", False, 10)\n"), "aten::from_file"},
      {Method("    _0 = torch.load(\"x\")\n"), "aten::load"},
      {Method("    _0 = torch.add(torch.system(x), 1)\n"), "aten::system"},
      {Method("    _0 = ops.aten.save(x)\n"), "aten::save"},
      {Method("    _0 = ops.evil.run(x)\n"), "evil::run"},
      {Method("    _0 = ops.tightfit.linear(x)\n"), "tightfit::linear"},
      {Method("    _0 = ops.prim.PythonOp(x)\n"), "prim::PythonOp"},
      {Method("    _0 = ops.evil(x)\n"), "ops.evil"},
      {Method("    _0 = ops.image.read_file\n"), "image::read_file"},
      {Method("    _0 = torch.add\n"), "aten::add"},
      {Method("    print(x)\n"), "print"},
      {Method("    _0 = open(\"x\")\n"), "open"},
      {Method("    _0 = __torch__.free_function(x)\n"), "__torch__.free_function"},
      {Method("    _0 = (self).other(x, )\n"), "other"},
      {Method("    _0 = self.forward_hook(x)\n"), "forward_hook"},
      {Method("    _0 = torch . save(x)\n"), "save"},
      {"class M(Module):\n  def __setstate__(self: __torch__.M, x: Tensor) -> NoneType:\n",
       "__setstate__"},
      {"class M(Module):\n  def __getstate__(self: __torch__.M) -> Tensor:\n", "__getstate__"},
      {"class M(NamedTuple):\n  x : Tensor\n", "M"},
      {"class M(Enum):\n", "M"},
      {"def helper(x: Tensor) -> Tensor:\n  return x\n", "helper"},
      {"import torch\n", "import"},
      {"from __torch__ import x\n", "import"},
      {Method("    @x\n"), "outside the language"},
      {Method("    _0 = \"unfinished\n"), "without an end"},
  };
  for (const Forbidden& forbidden : cases) {
    const Status status = ScanGraphSource(kFile, forbidden.source);
    ASSERT_FALSE(status.ok()) << forbidden.source;
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << forbidden.source;
    EXPECT_EQ(status.reason(), "FORBIDDEN_OPERATOR") << forbidden.source;
    EXPECT_THAT(status.message(), HasSubstr(forbidden.named)) << forbidden.source;
    EXPECT_THAT(status.message(), HasSubstr(kFile)) << forbidden.source;
  }
}

std::string Global(const std::string& module, const std::string& name) {
  return std::string("\x80\x02", 2) + "c" + module + "\n" + name + "\n.";
}

TEST(PickleScanTest, AcceptsModulesTensorsAndContainers) {
  for (const auto& [module, name] : std::vector<std::pair<std::string, std::string>>{
           {"__torch__.torch.nn.modules.linear", "Linear"},
           {"__torch__", "M"},
           {"collections", "OrderedDict"},
           {"torch._utils", "_rebuild_tensor_v2"},
           {"torch", "HalfStorage"}}) {
    EXPECT_TRUE(ScanPickle(kFile, Global(module, name)).ok()) << module;
  }
  const std::string numbers =
      std::string("\x80\x02(K\x05M\x01\x02J\x01\x02\x03\x04X\x03\x00\x00\x00xyz\x8a\x01\x07t.", 26);
  EXPECT_TRUE(ScanPickle(kFile, numbers).ok());
}

TEST(PickleScanTest, RefusesAndNamesOtherGlobals) {
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"os", "system"},
                                                        {"posix", "system"},
                                                        {"builtins", "eval"},
                                                        {"collections", "Counter"},
                                                        {"torch", "load"},
                                                        {"torch", "Storage"},
                                                        {"torch.distributed.rpc", "rref"},
                                                        {"__torch__x", "M"}}) {
    const Status status = ScanPickle(kFile, Global(module, name));
    ASSERT_FALSE(status.ok()) << module;
    EXPECT_EQ(status.reason(), "FORBIDDEN_OPERATOR") << module;
    EXPECT_THAT(status.message(), HasSubstr(module + "." + name));
  }
}

TEST(PickleScanTest, RefusesOpcodesThatLibTorchDoesNotWrite) {
  // INST, OBJ, STACK_GLOBAL, EXT1, FRAME, BYTEARRAY8.
  for (const char opcode : {'i', 'o', '\x93', '\x82', '\x95', '\x96'}) {
    const Status status = ScanPickle(kFile, std::string("\x80\x02", 2) + opcode + "aa\nbb\n.");
    EXPECT_EQ(status.reason(), "BAD_MODEL_DIRECTORY") << static_cast<int>(opcode);
  }
}

TEST(PickleScanTest, RefusesEveryTruncation) {
  const std::string whole = std::string("\x80\x02", 2) + "ctorch\nFloatStorage\n(K\x05X\x03" +
                            std::string(3, '\0') + "xyzt.";
  ASSERT_TRUE(ScanPickle(kFile, whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(ScanPickle(kFile, std::string_view(whole).substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(ScanPickle(kFile, whole + "N").ok()) << "bytes after the end";
}

TEST(PickleScanTest, RefusesATextLongerThanTheFile) {
  const std::string pickle = std::string("\x80\x02X\xff\xff\xff\xff", 7) + "abc.";
  EXPECT_EQ(ScanPickle(kFile, pickle).reason(), "BAD_MODEL_DIRECTORY");
}

}  // namespace
}  // namespace tightfit
