#include "server/pipeline/compute_dtype.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

constexpr std::array kBf16First = {at::kBFloat16, at::kFloat, at::kHalf};
constexpr std::array kFp32First = {at::kFloat, at::kBFloat16, at::kHalf};

ModelDirectory DirectoryWith(std::vector<std::string> dtypes) {
  ModelDirectory directory;
  for (const char* component : {"unet", "text_encoder", "text_encoder_2", "vae"}) {
    for (const std::string& dtype : dtypes) directory.components[component].graphs[dtype] = {};
  }
  return directory;
}

TEST(ComputeDtypeTest, AutoTakesTheFirstThatThereIs) {
  const ModelDirectory directory = DirectoryWith({"fp32", "bf16", "fp16"});
  EXPECT_EQ(ResolveComputeDtype(directory, "auto", kBf16First)->model, at::kBFloat16);
  EXPECT_EQ(ResolveComputeDtype(directory, "auto", kFp32First)->model, at::kFloat);
}

TEST(ComputeDtypeTest, ComputesInFp16OnCudaAndNeverFirstOnACpu) {
  EXPECT_EQ(PreferredDtypes(at::Device("cuda:0")).front(), at::kHalf);
  EXPECT_NE(PreferredDtypes(at::kCPU).front(), at::kHalf);
}

TEST(ComputeDtypeTest, AutoTakesWhatTheDirectoryHas) {
  EXPECT_EQ(ResolveComputeDtype(DirectoryWith({"fp32"}), "auto", kBf16First)->model, at::kFloat);
  EXPECT_EQ(ResolveComputeDtype(DirectoryWith({"bf16"}), "auto", kFp32First)->model, at::kBFloat16);
}

TEST(ComputeDtypeTest, ADtypeAskedForByNameIsTakenOrRefusedWithTheList) {
  const ModelDirectory directory = DirectoryWith({"fp32", "bf16"});
  EXPECT_EQ(ResolveComputeDtype(directory, "fp32", kBf16First)->model, at::kFloat);
  const auto refused = ResolveComputeDtype(directory, "fp16", kBf16First);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.status().message(), HasSubstr("fp32, bf16"));
}

TEST(ComputeDtypeTest, ForceUpcastDecodesInFp32FromTheStart) {
  ModelDirectory directory = DirectoryWith({"fp32", "bf16"});
  EXPECT_EQ(ResolveComputeDtype(directory, "bf16", kBf16First)->vae, at::kBFloat16);
  directory.vae_force_upcast = true;
  EXPECT_EQ(ResolveComputeDtype(directory, "bf16", kBf16First)->vae, at::kFloat);
  directory.components["vae"].graphs.erase("fp32");
  EXPECT_FALSE(ResolveComputeDtype(directory, "bf16", kBf16First).ok());
}

TEST(ComputeDtypeTest, AComponentWithoutTheGraphRulesTheDtypeOut) {
  ModelDirectory directory = DirectoryWith({"fp32", "bf16"});
  directory.components["text_encoder_2"].graphs.erase("bf16");
  EXPECT_EQ(ResolveComputeDtype(directory, "auto", kBf16First)->model, at::kFloat);
}

}  // namespace
}  // namespace tightfit
