#include "server/weights/weight_loader.h"

#include "server/model/sha256.h"
#include "tests/unit/model/temporary_directory.h"
#include "tests/unit/model/traced_layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/script.h>

#include <limits>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

constexpr char kFile[] = "unet.safetensors";

// A file of TwoLayerWeights, changed by each test, and the slots of a graph to fill.
class LoadWeightsTest : public ::testing::Test {
 protected:
  LoadWeightsTest() : graph_(TwoLayerGraph(at::kFloat)), tensors_(TwoLayerWeights(1)) {
    options_.weights = Account(MemoryPurpose::kWeights);
    options_.scratch = Account(MemoryPurpose::kScratch);
    options_.weights->ResetPeak();
    options_.scratch->ResetPeak();
  }

  static MemoryAccount* Account(MemoryPurpose purpose) {
    return MemoryAccounts::Instance().Get("converter", "unet", purpose);
  }

  at::Tensor& Tensor(const std::string& name) {
    for (auto& [key, tensor] : tensors_) {
      if (key == name) return tensor;
    }
    std::abort();
  }

  Result<LoadReport> Convert(const std::string& sha256 = "") {
    const std::string bytes = SafetensorsOf(tensors_);
    const auto file = SafetensorsFile::Open(directory_.Write(kFile, bytes), kFile);
    if (!file.ok()) return file.status();
    slots_ = MakeWeightSlots(graph_);
    file_bytes_ = static_cast<int64_t>(bytes.size());
    return LoadWeights(**file, sha256.empty() ? Sha256::HexDigestOf(bytes) : sha256,
                       TableOf(**file), slots_, options_, [this](int64_t read) {
                         bytes_read_ += read;
                         return bytes_read_ <= stop_after_bytes_;
                       });
  }

  WeightTable TableOf(const SafetensorsFile& file) const {
    return WeightTable(file.tensors(), {}, {format_, {}});
  }
  // What the slot of `key` holds.
  const WeightSlot& Slot(const std::string& key) const {
    for (const WeightSlot& slot : slots_) {
      if (slot.parameter.key == key) return slot;
    }
    std::abort();
  }

  TemporaryDirectory directory_;
  WeightFormat format_ = WeightFormat::kHf8;
  torch::jit::Module graph_;
  NamedTensors tensors_;
  LoadOptions options_;
  std::vector<WeightSlot> slots_;
  int64_t file_bytes_ = 0;
  int64_t bytes_read_ = 0;
  int64_t stop_after_bytes_ = std::numeric_limits<int64_t>::max();
};

// 16 rows of 72 codes, padded to 80; 32 rows of 16 codes.
constexpr int64_t kPackedBytes = 16 * 80 + 32 * 16;
constexpr int64_t kDenseBytes = 4 * (16 + 32 + 32 + 32);
constexpr int64_t kLargestTensorBytes = 16 * 8 * 9 * 2;

TEST_F(LoadWeightsTest, PacksTheWeightsAndCastsTheRest) {
  const auto report = Convert();
  ASSERT_TRUE(report.ok()) << report.status().ForLog();
  EXPECT_EQ((*report).packed_module_count, 2);
  EXPECT_EQ((*report).packed_parameter_count, 16 * 72 + 32 * 16);
  EXPECT_EQ((*report).packed_bytes, kPackedBytes);
  EXPECT_EQ((*report).largest_decoded_bytes, 16 * 72 * 4);
  EXPECT_TRUE((*report).unpacked_modules.empty());
  EXPECT_TRUE(Slot("conv.weight").weight->is_packed());
  const at::Tensor bias = graph_.attr("conv").toModule().attr("bias").toTensor();
  EXPECT_TRUE(at::equal(bias, Tensor("conv.bias").to(at::kFloat)));
}

TEST_F(LoadWeightsTest, ReportsEveryByteOfTheFileAsProgress) {
  ASSERT_TRUE(Convert().ok());
  EXPECT_EQ(bytes_read_, file_bytes_);
}

TEST_F(LoadWeightsTest, HoldsThePackedBytesAndTwoStagingBuffersAtMost) {
  ASSERT_TRUE(Convert().ok());
  EXPECT_EQ(options_.weights->current_bytes(), kPackedBytes + kDenseBytes);
  EXPECT_EQ(options_.weights->peak_bytes(), kPackedBytes + kDenseBytes);
  EXPECT_EQ(options_.scratch->peak_bytes(), 2 * kLargestTensorBytes);
  EXPECT_EQ(options_.scratch->current_bytes(), 0) << "the staging buffers are gone";
}

TEST_F(LoadWeightsTest, KeepsAnUnrepresentableWeightInTheComputeDtypeAndSaysWhy) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  struct Case {
    std::vector<float> values;
    const char* reason;
  };
  const std::vector<Case> cases = {
      {{nan, nan, nan}, "3 NaN"},
      {{-infinity}, "1 infinity"},
      {{infinity, infinity}, "2 infinities"},
      {{0.8f}, "1 value above the largest value 0.75 of hf8"},
      {{0.8f, -1.0f, 60000.0f}, "3 values above the largest value 0.75 of hf8"},
      {{nan, infinity, 2.0f}, "1 NaN, 1 infinity, 1 value above the largest value 0.75 of hf8"}};
  for (const Case& bad : cases) {
    graph_ = TwoLayerGraph(at::kFloat);
    tensors_ = TwoLayerWeights(1);
    at::Tensor flat = Tensor("attn1.to_q.weight").view(-1);
    for (size_t i = 0; i < bad.values.size(); ++i) {
      flat[static_cast<int64_t>(i) * 3] = bad.values[i];
    }
    const auto report = Convert();
    ASSERT_TRUE(report.ok()) << report.status().ForLog();
    ASSERT_EQ((*report).unpacked_modules.size(), 1u) << bad.reason;
    EXPECT_EQ((*report).unpacked_modules[0].module, "attn1.to_q");
    EXPECT_EQ((*report).unpacked_modules[0].reason, bad.reason);
    EXPECT_EQ((*report).packed_module_count, 1);
    const at::Tensor kept = Slot("attn1.to_q.weight").held();
    EXPECT_TRUE(at::allclose(kept, Tensor("attn1.to_q.weight").to(at::kFloat), 0, 0,
                             /*equal_nan=*/true));
  }
}

TEST_F(LoadWeightsTest, PacksTheLargestValueOfTheFormat) {
  Tensor("attn1.to_q.weight").view(-1)[0] = 0.75f;
  const auto report = Convert();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ((*report).packed_module_count, 2);
}

TEST_F(LoadWeightsTest, KeepsAWeightThatIsStoredAsFp32) {
  Tensor("conv.weight") = Tensor("conv.weight").to(at::kFloat) * 1e6;
  const auto report = Convert();
  ASSERT_TRUE(report.ok()) << report.status().ForLog();
  ASSERT_EQ((*report).unpacked_modules.size(), 1u);
  EXPECT_EQ((*report).unpacked_modules[0].module, "conv");
  EXPECT_EQ((*report).unpacked_modules[0].reason, "stored as fp32: out of fp16's range");
  const at::Tensor kept = Slot("conv.weight").held();
  EXPECT_TRUE(at::equal(kept, Tensor("conv.weight")));
}

TEST_F(LoadWeightsTest, PacksWeightsThatAreStoredAsBf16) {
  // Every bf16 value here is one of fp16's too, so that the codes are those of the fp16 file.
  for (const char* name : {"conv.weight", "attn1.to_q.weight"}) {
    Tensor(name) = (Tensor(name).to(at::kFloat) * 64).round().div(64).to(at::kHalf);
  }
  ASSERT_TRUE(Convert().ok());
  const at::Tensor conv = Slot("conv.weight").held();
  const at::Tensor linear = Slot("attn1.to_q.weight").held();
  for (const char* name : {"conv.weight", "attn1.to_q.weight"}) {
    Tensor(name) = Tensor(name).to(at::kBFloat16);
  }
  graph_ = TwoLayerGraph(at::kFloat);
  bytes_read_ = 0;
  const auto report = Convert();
  ASSERT_TRUE(report.ok()) << report.status().ForLog();
  EXPECT_EQ((*report).packed_module_count, 2);
  EXPECT_TRUE(at::equal(Slot("conv.weight").held(), conv));
  EXPECT_TRUE(at::equal(Slot("attn1.to_q.weight").held(), linear));
}

TEST_F(LoadWeightsTest, KeepsAWeightInBf16ThatFp16CannotHold) {
  Tensor("conv.weight") = Tensor("conv.weight").to(at::kBFloat16);
  Tensor("conv.weight").view(-1)[0] = 1e6;
  const auto report = Convert();
  ASSERT_TRUE(report.ok()) << report.status().ForLog();
  ASSERT_EQ((*report).unpacked_modules.size(), 1u);
  EXPECT_EQ((*report).unpacked_modules[0].reason, "1 infinity");
  EXPECT_TRUE(at::equal(Slot("conv.weight").held(), Tensor("conv.weight").to(at::kFloat)))
      << "it is kept as it was stored";
}

TEST_F(LoadWeightsTest, LeavesNothingBehindWhenTheHashIsWrong) {
  const auto report = Convert(Sha256::HexDigestOf("another file"));
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(report.status().reason(), "CHECKSUM_MISMATCH");
  EXPECT_THAT(report.status().message(), HasSubstr(kFile));
  EXPECT_EQ(options_.weights->current_bytes(), 0);
  EXPECT_EQ(options_.scratch->current_bytes(), 0);
  EXPECT_GT(options_.weights->peak_bytes(), 0) << "control: something had been allocated";
}

TEST_F(LoadWeightsTest, RefusesAFileThatLacksAParameter) {
  tensors_.erase(tensors_.begin() + 3);
  graph_ = TwoLayerGraph(at::kFloat);
  const auto report = Convert();
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().reason(), "BAD_MODEL_DIRECTORY");
  EXPECT_THAT(report.status().message(), HasSubstr("attn1.to_q.bias"));
  EXPECT_EQ(options_.weights->current_bytes(), 0);
}

TEST_F(LoadWeightsTest, SkipsTensorsThatNoParameterUses) {
  tensors_.insert(tensors_.begin(), {"encoder.weight", at::ones({100}, at::kHalf)});
  ASSERT_TRUE(Convert().ok());
  EXPECT_EQ(options_.weights->current_bytes(), kPackedBytes + kDenseBytes);
  EXPECT_EQ(bytes_read_, file_bytes_);
}

TEST_F(LoadWeightsTest, StopsAtTheTensorAfterWhichNobodyWaits) {
  stop_after_bytes_ = 0;
  EXPECT_EQ(Convert().status().reason(), "LOAD_STOPPED");
  EXPECT_LT(bytes_read_, file_bytes_);
  EXPECT_EQ(options_.weights->current_bytes(), 0);
}

TEST_F(LoadWeightsTest, ClearedSlotsFreeTheirWeightsAndCanBeFilledAgain) {
  const at::Tensor x = at::ones({1, 8, 4, 4});
  ASSERT_TRUE(Convert().ok());
  const at::Tensor first = graph_.forward({x}).toTensor();
  ClearWeights(slots_);
  EXPECT_EQ(options_.weights->current_bytes(), 0);

  tensors_ = TwoLayerWeights(2);
  const std::string bytes = SafetensorsOf(tensors_);
  const auto file = SafetensorsFile::Open(directory_.Write(kFile, bytes), kFile);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(
      LoadWeights(**file, Sha256::HexDigestOf(bytes), TableOf(**file), slots_, options_, {}).ok());
  const at::Tensor second = graph_.forward({x}).toTensor();
  EXPECT_FALSE(at::allclose(first, second));
  EXPECT_TRUE(at::allclose(second, TwoLayerReference(tensors_, x), 0.2, 0.2));
}

}  // namespace
}  // namespace tightfit
