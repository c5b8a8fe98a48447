#include "server/pipeline/compute_dtype.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

ModelDirectory DirectoryWith(std::vector<std::string> dtypes) {
  ModelDirectory directory;
  for (const char* component : {"unet", "text_encoder", "text_encoder_2", "vae"}) {
    for (const std::string& dtype : dtypes) directory.components[component].graphs[dtype] = {};
  }
  return directory;
}

TEST(ComputeDtypeTest, AutoTakesBf16OnlyWhereTheCpuHasIt) {
  const ModelDirectory directory = DirectoryWith({"fp32", "bf16", "fp16"});
  EXPECT_EQ(ResolveComputeDtype(directory, "auto", true)->model, at::kBFloat16);
  EXPECT_EQ(ResolveComputeDtype(directory, "auto", false)->model, at::kFloat);
}

TEST(ComputeDtypeTest, AutoTakesWhatTheDirectoryHas) {
  EXPECT_EQ(ResolveComputeDtype(DirectoryWith({"fp32"}), "auto", true)->model, at::kFloat);
  EXPECT_EQ(ResolveComputeDtype(DirectoryWith({"bf16"}), "auto", false)->model, at::kBFloat16);
}

TEST(ComputeDtypeTest, ADtypeAskedForByNameIsTakenOrRefusedWithTheList) {
  const ModelDirectory directory = DirectoryWith({"fp32", "bf16"});
  EXPECT_EQ(ResolveComputeDtype(directory, "fp32", true)->model, at::kFloat);
  const auto refused = ResolveComputeDtype(directory, "fp16", true);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.status().message(), HasSubstr("fp32, bf16"));
}

TEST(ComputeDtypeTest, ForceUpcastDecodesInFp32FromTheStart) {
  ModelDirectory directory = DirectoryWith({"fp32", "bf16"});
  EXPECT_EQ(ResolveComputeDtype(directory, "bf16", true)->vae, at::kBFloat16);
  directory.vae_force_upcast = true;
  EXPECT_EQ(ResolveComputeDtype(directory, "bf16", true)->vae, at::kFloat);
  directory.components["vae"].graphs.erase("fp32");
  EXPECT_FALSE(ResolveComputeDtype(directory, "bf16", true).ok());
}

TEST(ComputeDtypeTest, AComponentWithoutTheGraphRulesTheDtypeOut) {
  ModelDirectory directory = DirectoryWith({"fp32", "bf16"});
  directory.components["text_encoder_2"].graphs.erase("bf16");
  EXPECT_EQ(ResolveComputeDtype(directory, "auto", true)->model, at::kFloat);
}

}  // namespace
}  // namespace tightfit
