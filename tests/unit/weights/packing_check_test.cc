#include "server/weights/packing_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tightfit {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

StoredTensor Named(std::string name, std::vector<int64_t> shape) {
  return {.name = std::move(name), .shape = std::move(shape)};
}

std::vector<StoredTensor> UnetTensors() {
  return {Named("conv_in.weight", {4, 4, 3, 3}), Named("conv_in.bias", {4}),
          Named("down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.weight", {4, 4}),
          Named("down_blocks.10.resnets.0.conv1.weight", {4, 4, 3, 3}),
          Named("conv_norm_out.weight", {4})};
}

Status Check(std::vector<std::string> exclude, std::string scope = "linear+conv", bool packs = true,
             const std::vector<StoredTensor>& tensors = UnetTensors()) {
  return CheckPacking("unet", tensors, {},
                      {packs ? std::optional(WeightFormat::kHf8) : std::nullopt,
                       {.name = std::move(scope), .exclude = std::move(exclude)}});
}

TEST(CheckPackingTest, AnExcludedNameIsAModuleOrOneThatModulesLieIn) {
  for (const char* name :
       {"conv_in", "conv_norm_out", "down_blocks", "down_blocks.0", "down_blocks.10",
        "down_blocks.0.attentions.1.transformer_blocks.0.attn1",
        "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q"}) {
    EXPECT_TRUE(Check({name}).ok()) << name;
  }
  EXPECT_TRUE(Check({}).ok());
}

TEST(CheckPackingTest, AnyOtherNameIsRefusedWhateverElseIsExcluded) {
  // Prefixes end at a dot, and a tensor is no module.
  for (const char* name : {"nope.nothing", "conv", "conv_i", "down_blocks.1", "down", "attn1",
                           "conv_in.weight", "down_blocks.0.attentions.1.to_q", "Conv_in"}) {
    for (const bool packs : {true, false}) {
      const Status refused = Check({"conv_in", name}, "linear+conv", packs);
      EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument) << name;
      EXPECT_THAT(refused.message(), HasSubstr("\"" + std::string(name) + "\""));
    }
  }
}

TEST(CheckPackingTest, TheNearestModuleIsNamed) {
  EXPECT_THAT(Check({"convin"}).message(), HasSubstr("; did you mean \"conv_in\"?"));
  EXPECT_THAT(Check({"down_block.0"}).message(), HasSubstr("; did you mean \"down_blocks.0\"?"));
  EXPECT_THAT(Check({"something.else"}).message(), Not(HasSubstr("did you mean")));
}

TEST(CheckPackingTest, AScopeThatTakesNothingIsRefusedWhereSomethingIsToBePacked) {
  const std::vector<StoredTensor> convolutions = {Named("conv_in.weight", {4, 4, 3, 3}),
                                                  Named("norm.weight", {4})};
  EXPECT_TRUE(Check({}, "linear+conv", true, convolutions).ok());
  for (const char* scope : {"attention", "linear"}) {
    const Status refused = Check({}, scope, true, convolutions);
    EXPECT_THAT(refused.message(), HasSubstr("scope: \"" + std::string(scope) + "\" takes no"));
    EXPECT_TRUE(Check({}, scope, false, convolutions).ok()) << "fp16 packs nothing anyway";
  }
  EXPECT_TRUE(Check({}, "attention").ok());
  EXPECT_TRUE(Check({"down_blocks", "conv_in"}).ok()) << "all of it may be left out on purpose";
}

TEST(CheckComponentsTest, AFormatIsOfAComponentThatTheModelHas) {
  ModelDirectory directory;
  directory.family = "sd1";
  directory.components["unet"];
  directory.components["text_encoder"];
  ComponentFormats formats = {{"unet", {}}, {"text_encoder", {}}};
  EXPECT_TRUE(CheckComponents(formats, directory).ok());
  formats["text_encoder_2"];
  EXPECT_THAT(CheckComponents(formats, directory).message(),
              HasSubstr("text_encoder_2, which a model of the family sd1 does not have"));
}

}  // namespace
}  // namespace tightfit
