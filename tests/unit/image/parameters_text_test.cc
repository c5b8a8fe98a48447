#include "server/image/parameters_text.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

constexpr char kHash[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

GenerationParameters Request() {
  GenerationParameters request;
  request.model = "name";
  request.prompt = "a cat";
  request.width_px = 64;
  request.height_px = 48;
  request.step_count = 25;
  request.guidance_scale = 5.0f;
  request.sampler = "euler-a";
  request.seed = 1;
  return request;
}

TEST(ParametersTextTest, FollowsTheLayoutOfA1111) {
  GenerationParameters request = Request();
  request.negative_prompt = "blurry";
  EXPECT_EQ(ParametersText(request, 7, kHash),
            "a cat\n"
            "Negative prompt: blurry\n"
            "Steps: 25, Sampler: Euler a, CFG scale: 5, Seed: 7, Size: 64x48, "
            "Model hash: 0123456789, Model: name, Version: tightfit " TIGHTFIT_VERSION);
}

TEST(ParametersTextTest, LeavesOutANegativePromptThatIsAbsentOrEmpty) {
  GenerationParameters request = Request();
  EXPECT_TRUE(ParametersText(request, 7, kHash).starts_with("a cat\nSteps: 25, "));
  request.negative_prompt = "";
  EXPECT_TRUE(ParametersText(request, 7, kHash).starts_with("a cat\nSteps: 25, "));
}

TEST(ParametersTextTest, BeginsWithTheStepsWhereThePromptIsEmpty) {
  GenerationParameters request = Request();
  request.prompt = "";
  EXPECT_TRUE(ParametersText(request, 7, kHash).starts_with("Steps: 25, "));
}

TEST(ParametersTextTest, ShowsSamplersByTheirNamesInA1111) {
  GenerationParameters request = Request();
  request.sampler = "euler";
  EXPECT_NE(ParametersText(request, 7, kHash).find("Sampler: Euler, "), std::string::npos);
  request.sampler = "another";
  EXPECT_NE(ParametersText(request, 7, kHash).find("Sampler: another, "), std::string::npos);
}

TEST(ParametersTextTest, WritesTheGuidanceScaleWithoutNeedlessDigits) {
  const auto written = [](float guidance_scale) {
    GenerationParameters request = Request();
    request.guidance_scale = guidance_scale;
    const std::string text = ParametersText(request, 7, kHash);
    const size_t start = text.find("CFG scale: ") + 11;
    return text.substr(start, text.find(',', start) - start);
  };
  EXPECT_EQ(written(0.0f), "0");
  EXPECT_EQ(written(1.0f), "1");
  EXPECT_EQ(written(7.5f), "7.5");
  EXPECT_EQ(written(0.1f), "0.1");
  EXPECT_EQ(written(30.0f), "30");
  EXPECT_EQ(written(0.00001f), "0.00001");
}

TEST(ParametersTextTest, KeepsSeedsOf64Bits) {
  EXPECT_NE(ParametersText(Request(), INT64_MAX, kHash).find("Seed: 9223372036854775807, "),
            std::string::npos);
}

TEST(ParametersTextTest, QuotesValuesThatWouldBreakTheList) {
  GenerationParameters request = Request();
  for (const auto& [model, written] :
       {std::pair("a, b", "Model: \"a, b\", "), std::pair("a: \"b\"", "Model: \"a: \\\"b\\\"\", "),
        std::pair("a\nb", "Model: \"a\\nb\", "),
        std::pair("caf\u00E9, x", "Model: \"caf\u00E9, x\", "),
        std::pair("say \"b\"", "Model: say \"b\", ")}) {
    request.model = model;
    const std::string text = ParametersText(request, 7, kHash);
    EXPECT_NE(text.find(written), std::string::npos) << text;
  }
}

TEST(ParametersTextTest, NamesSecondPromptsBeforeTheVersion) {
  GenerationParameters request = Request();
  request.prompt_2 = "in oil";
  request.negative_prompt_2 = "dark, dull";
  const std::string text = ParametersText(request, 7, kHash);
  EXPECT_NE(
      text.find("Model: name, Prompt 2: in oil, Negative prompt 2: \"dark, dull\", Version: "),
      std::string::npos)
      << text;
}

TEST(ParametersTextTest, ReplacesNulWhichEndsAPngText) {
  GenerationParameters request = Request();
  request.prompt = std::string("a\0b", 3);
  EXPECT_TRUE(ParametersText(request, 7, kHash)
                  .starts_with("a\uFFFD"
                               "b\nSteps: "));
}

}  // namespace
}  // namespace tightfit
