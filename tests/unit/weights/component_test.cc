#include "server/weights/component.h"

#include "tests/unit/model/golden_tables.h"
#include "tests/unit/model/temporary_directory.h"
#include "tests/unit/model/traced_layers.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/script.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string> kFormatNames = {"hf8", "hf8x", "hf10", "hf12"};

at::Tensor Input(at::ScalarType dtype) {
  return at::randn({2, 8, 6, 5}, at::detail::createCPUGenerator(9)).to(dtype);
}

// `weights` with those of `modules` replaced by decode(encode(w)).
NamedTensors RoundTrip(NamedTensors weights, const std::string& format,
                       const std::vector<std::string>& modules) {
  const GoldenTables golden(*FormatByName(format));
  for (auto& [name, tensor] : weights) {
    for (const std::string& module : modules) {
      if (name != module + ".weight") continue;
      tensor = tensor.contiguous().clone();
      auto* const patterns = static_cast<uint16_t*>(tensor.mutable_data_ptr());
      for (int64_t i = 0; i < tensor.numel(); ++i) patterns[i] = golden.RoundTrip(patterns[i]);
    }
  }
  return weights;
}

class ComponentTest : public ::testing::Test {
 protected:
  ComponentTest() : weights_(TwoLayerWeights(1)) { options_.owner = "component"; }

  Result<std::unique_ptr<Component>> Load() {
    options_.component = "unet";
    const bool fp32 = options_.dtype == at::kFloat;
    directory_ = WriteDirectory(temporary_, ArchiveOf(TwoLayerGraph(options_.dtype)),
                                fp32 ? "fp32" : "bf16", SafetensorsOf(weights_));
    return Component::Load(directory_, options_, {});
  }

  // Bytes that the component's accounts hold now.
  static int64_t HeldBytes() {
    int64_t bytes = 0;
    for (const MemoryUse& use : MemoryAccounts::Instance().Snapshot("component")) {
      bytes += use.current_bytes;
    }
    return bytes;
  }

  TemporaryDirectory temporary_;
  ModelDirectory directory_;
  NamedTensors weights_;
  ComponentOptions options_;
};

TEST_F(ComponentTest, RunsUnpackedLikeLibTorchItself) {
  const auto component = Load();
  ASSERT_TRUE(component.ok()) << component.status().ForLog();
  const at::Tensor x = Input(at::kFloat);
  const auto output = (*component)->Run({x});
  ASSERT_TRUE(output.ok()) << output.status().ForLog();
  ASSERT_EQ((*output).size(), 1u);
  EXPECT_TRUE(at::allclose((*output)[0], TwoLayerReference(weights_, x), 1e-5, 1e-5));
}

TEST_F(ComponentTest, RunsPackedLikeLibTorchWithDecodedWeights) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> scopes = {
      {"attention", {"attn1.to_q"}},
      {"linear", {"attn1.to_q"}},
      {"linear+conv", {"attn1.to_q", "conv"}}};
  const at::Tensor x = Input(at::kFloat);
  for (const std::string& format : kFormatNames) {
    for (const auto& [scope, modules] : scopes) {
      options_.format = format;
      options_.scope.name = scope;
      const auto component = Load();
      ASSERT_TRUE(component.ok()) << component.status().ForLog();
      const at::Tensor found = (*component)->Run({x}).value()[0];
      const at::Tensor expected = TwoLayerReference(RoundTrip(weights_, format, modules), x);
      EXPECT_TRUE(at::allclose(found, expected, 1e-5, 1e-5)) << format << " " << scope;
      // Controls: this tolerance tells apart the weights as they were, and another format.
      EXPECT_FALSE(at::allclose(found, TwoLayerReference(weights_, x), 1e-5, 1e-5))
          << format << " " << scope;
      const std::string other = format == "hf12" ? "hf10" : "hf12";
      EXPECT_FALSE(at::allclose(found, TwoLayerReference(RoundTrip(weights_, other, modules), x),
                                1e-5, 1e-5))
          << format << " " << scope;
    }
  }
}

TEST_F(ComponentTest, RunsInBf16) {
  options_.dtype = at::kBFloat16;
  options_.format = "hf8";
  const auto component = Load();
  ASSERT_TRUE(component.ok()) << component.status().ForLog();
  const at::Tensor x = Input(at::kBFloat16);
  const at::Tensor found = (*component)->Run({x}).value()[0];
  EXPECT_EQ(found.scalar_type(), at::kBFloat16);
  const at::Tensor expected =
      TwoLayerReference(RoundTrip(weights_, "hf8", {"attn1.to_q", "conv"}), x);
  EXPECT_TRUE(at::allclose(found.to(at::kFloat), expected.to(at::kFloat), 0.05, 0.05));
}

TEST_F(ComponentTest, DescribesWhatItHoldsToTheByte) {
  options_.format = "hf10";
  const auto component = Load();
  ASSERT_TRUE(component.ok()) << component.status().ForLog();
  const ComponentDescription& description = (*component)->description();
  const int64_t parameters = 16 * 72 + 16 + 32 * 16 + 32 + 32 + 32;
  // Low plane and high plane, each row padded to 16 bytes: 80 + 32 and 16 + 16.
  const int64_t packed_bytes = 16 * (80 + 32) + 32 * (16 + 16);
  EXPECT_EQ(description.name, "unet");
  EXPECT_EQ(description.format, "hf10");
  EXPECT_EQ(description.parameter_count, parameters);
  EXPECT_EQ(description.fp16_bytes, 2 * parameters);
  EXPECT_EQ(description.packed_bytes, packed_bytes);
  EXPECT_EQ(description.packed_parameter_count, 16 * 72 + 32 * 16);
  EXPECT_EQ(description.packed_module_count, 2);
  EXPECT_EQ(description.weight_bytes, packed_bytes + 4 * (16 + 32 + 32 + 32));
  EXPECT_EQ(HeldBytes(), description.weight_bytes);
}

TEST_F(ComponentTest, FreesEverythingWhenDestroyed) {
  options_.format = "hf8";
  {
    const auto component = Load();
    ASSERT_TRUE(component.ok());
    ASSERT_TRUE((*component)->Run({Input(at::kFloat)}).ok());
    EXPECT_GT(HeldBytes(), 0);
  }
  EXPECT_EQ(HeldBytes(), 0);
}

TEST_F(ComponentTest, ChargesWhatItComputesToTheCurrentAccount) {
  const auto component = Load();
  ASSERT_TRUE(component.ok());
  MemoryAccount* const activations =
      MemoryAccounts::Instance().Get("component", "unet", MemoryPurpose::kActivations);
  activations->ResetPeak();
  const ScopedMemoryAccount account(activations);
  auto output = (*component)->Run({Input(at::kFloat)});
  ASSERT_TRUE(output.ok());
  EXPECT_EQ(activations->current_bytes(), 2 * 30 * 32 * 4);
  EXPECT_GT(activations->peak_bytes(), activations->current_bytes());
  output = std::vector<at::Tensor>{};
  EXPECT_EQ(activations->current_bytes(), 0);
}

TEST_F(ComponentTest, LeavesExcludedModulesUnpackedAndSaysSo) {
  options_.format = "hf8";
  options_.scope.exclude = {"attn1"};
  const auto component = Load();
  ASSERT_TRUE(component.ok()) << component.status().ForLog();
  const ComponentDescription& description = (*component)->description();
  EXPECT_EQ(description.packed_module_count, 1);
  ASSERT_EQ(description.unpacked_modules.size(), 1u);
  EXPECT_EQ(description.unpacked_modules[0].module, "attn1.to_q");
  EXPECT_EQ(description.unpacked_modules[0].reason, "excluded by the configuration");
}

TEST_F(ComponentTest, HoldsEachLayerInItsOwnFormatAndTellsThem) {
  options_.formats_by_module = {{"attn1.to_q", WeightFormat::kNf4}, {"conv", std::nullopt}};
  const auto component = Load();
  ASSERT_TRUE(component.ok()) << component.status().ForLog();
  const ComponentDescription& description = (*component)->description();
  EXPECT_EQ(description.format, "nf4");
  EXPECT_EQ(description.packed_module_count, 1);
  EXPECT_TRUE(description.unpacked_modules.empty()) << "conv was chosen so";
  ASSERT_EQ(description.layers->size(), 2u);
  for (const LayerDescription& layer : *description.layers) {
    const bool is_conv = layer.module == "conv";
    EXPECT_EQ(layer.format, is_conv ? "fp32" : "nf4");
    EXPECT_EQ(layer.parameter_count, is_conv ? 16 * 72 : 32 * 16);
    if (is_conv) {
      EXPECT_EQ(layer.weight_bytes, 4 * 16 * 72);
    }
  }
  options_.formats_by_module["conv"] = WeightFormat::kE2m5r;
  const auto mixed = Load();
  ASSERT_TRUE(mixed.ok()) << mixed.status().ForLog();
  EXPECT_EQ((*mixed)->description().format, "mixed");
  EXPECT_TRUE((*mixed)->Run({Input(at::kFloat)}).ok());
}

TEST_F(ComponentTest, OtherFormatsOfLayersAreAnotherContent) {
  ASSERT_TRUE(Load().ok());
  std::set<std::string> keys;
  const auto add = [&] { keys.insert(*ContentKeyOf(directory_, options_)); };
  add();
  options_.formats_by_module = {{"attn1.to_q", WeightFormat::kNf4}};
  add();
  options_.formats_by_module = {{"attn1.to_q", WeightFormat::kNf5}};
  add();
  options_.formats_by_module = {{"attn1.to_q", std::nullopt}};
  add();
  options_.formats_by_module = {{"conv", WeightFormat::kNf4}};
  add();
  EXPECT_EQ(keys.size(), 5u);
  add();
  EXPECT_EQ(keys.size(), 5u);
}

TEST_F(ComponentTest, ExcludesWholeNamesOnly) {
  options_.format = "hf8";
  options_.scope.exclude = {"attn", "con"};
  const auto component = Load();
  ASSERT_TRUE(component.ok());
  EXPECT_EQ((*component)->description().packed_module_count, 2);
}

TEST_F(ComponentTest, CallsAComponentThatPacksNothingFp16) {
  options_.format = "hf8";
  options_.scope.exclude = {"attn1", "conv"};
  const auto component = Load();
  ASSERT_TRUE(component.ok());
  EXPECT_EQ((*component)->description().format, "fp16");
}

// What is refused, with which reason, leaving nothing allocated.
class ComponentRefusalTest : public ComponentTest {
 protected:
  ComponentRefusalTest() {
    options_.format = "hf8";
    EXPECT_TRUE(Load().ok());
  }
  void ExpectRefused(const char* reason, const char* named) {
    const auto component = Component::Load(directory_, options_, {});
    ASSERT_FALSE(component.ok()) << reason;
    EXPECT_EQ(component.status().reason(), reason) << component.status().ForLog();
    EXPECT_THAT(component.status().message(), HasSubstr(named));
    EXPECT_EQ(component.status().message().find(temporary_.path()), std::string::npos);
    EXPECT_EQ(HeldBytes(), 0);
  }
};

TEST_F(ComponentRefusalTest, AWeightFileWithAnotherHash) {
  directory_.components["unet"].weights.sha256 = std::string(64, '0');
  ExpectRefused("CHECKSUM_MISMATCH", "unet.safetensors");
}

TEST_F(ComponentRefusalTest, AWeightFileWithOneChangedBit) {
  const std::string path = temporary_.path() + "/unet.safetensors";
  std::string bytes = ReadWholeFile(path);
  bytes.back() ^= 1;
  temporary_.Write("unet.safetensors", bytes);
  ExpectRefused("CHECKSUM_MISMATCH", "unet.safetensors");
}

TEST_F(ComponentRefusalTest, AGraphWithOneChangedBit) {
  const std::string path = temporary_.path() + "/unet.fp32.ts";
  std::string bytes = ReadWholeFile(path);
  bytes[bytes.size() / 2] ^= 1;
  temporary_.Write("unet.fp32.ts", bytes);
  ExpectRefused("CHECKSUM_MISMATCH", "unet.fp32.ts");
}

TEST_F(ComponentRefusalTest, ATruncatedWeightFile) {
  std::filesystem::resize_file(temporary_.path() + "/unet.safetensors", 1500);
  ExpectRefused("FILE_TRUNCATED", "unet.safetensors");
}

TEST_F(ComponentRefusalTest, AMissingFile) {
  std::filesystem::remove(temporary_.path() + "/unet.safetensors");
  ExpectRefused("FILE_MISSING", "unet.safetensors");
}

TEST_F(ComponentRefusalTest, AMissingDtype) {
  options_.dtype = at::kHalf;
  ExpectRefused("BAD_MODEL_DIRECTORY", "fp16");
}

TEST_F(ComponentRefusalTest, AMissingComponent) {
  options_.component = "vae";
  ExpectRefused("BAD_MODEL_DIRECTORY", "components.vae");
}

TEST_F(ComponentRefusalTest, AForbiddenOperator) {
  directory_ = WriteDirectory(
      temporary_,
      ArchiveOf(OneMethod("def forward(self, x: Tensor) -> Tensor:\n  torch.save(x, \"f\")\n"
                          "  return x\n")),
      "fp32", SafetensorsOf(weights_));
  ExpectRefused("FORBIDDEN_OPERATOR", "aten::save");
}

TEST_F(ComponentRefusalTest, AnUnknownFormat) {
  options_.format = "hf9";
  ExpectRefused("INVALID_PARAMETER", "hf9");
}

TEST_F(ComponentRefusalTest, AWeightOfAnotherRank) {
  weights_[0].second = weights_[0].second.flatten();
  directory_ = WriteDirectory(temporary_, ArchiveOf(TwoLayerGraph(at::kFloat)), "fp32",
                              SafetensorsOf(weights_));
  ExpectRefused("BAD_MODEL_DIRECTORY", "conv.weight");
}

TEST_F(ComponentTest, ReportsInputsThatTheGraphCannotUse) {
  const auto component = Load();
  ASSERT_TRUE(component.ok());
  const auto output = (*component)->Run({at::zeros({1, 7, 4, 4})});
  EXPECT_EQ(output.status().code(), StatusCode::kInternal);
  EXPECT_EQ(output.status().message(), "could not run the unet");
  EXPECT_FALSE(output.status().detail().empty());
}

TEST_F(ComponentTest, WeightsGoAndComeBackIntoTheSameGraph) {
  for (const std::string format : {"fp16", "hf8", "hf12"}) {
    options_.format = format;
    const auto component = Load();
    ASSERT_TRUE(component.ok()) << component.status().ForLog();
    const int64_t held_bytes = HeldBytes();
    const at::Tensor x = Input(at::kFloat);
    const at::Tensor before = (*(*component)->Run({x}))[0].clone();
    (*component)->ClearWeights();
    EXPECT_FALSE((*component)->has_weights());
    EXPECT_EQ(HeldBytes(), held_bytes - (*component)->description().weight_bytes);
    const Status filled = (*component)->ReadWeights(directory_, {});
    ASSERT_TRUE(filled.ok()) << filled.ForLog();
    EXPECT_EQ(HeldBytes(), held_bytes);
    EXPECT_TRUE(at::equal((*(*component)->Run({x}))[0], before)) << format;
  }
}

TEST_F(ComponentTest, DamagedWeightsLeaveTheGraphEmptyAndReadyForGoodOnes) {
  const auto component = Load();
  ASSERT_TRUE(component.ok()) << component.status().ForLog();
  (*component)->ClearWeights();
  ModelDirectory damaged = directory_;
  damaged.components.at("unet").weights.sha256 = std::string(64, '0');
  EXPECT_EQ((*component)->ReadWeights(damaged, {}).reason(), "CHECKSUM_MISMATCH");
  EXPECT_FALSE((*component)->has_weights());
  EXPECT_TRUE((*component)->ReadWeights(directory_, {}).ok());
  EXPECT_TRUE((*component)->Run({Input(at::kFloat)}).ok());
}

}  // namespace
}  // namespace tightfit
