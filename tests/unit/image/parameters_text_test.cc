#include "server/image/parameters_text.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace tightfit {
namespace {

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

ModelDescription Model() {
  ModelDescription model;
  model.hash = "0123456789abcdef";
  return model;
}

std::string Text(const GenerationParameters& request) {
  return ParametersText(request, 7, Model());
}

TEST(ParametersTextTest, TellsTheStrengthOfWhatWasDrawnOver) {
  GenerationParameters request = Request();
  request.strength = 0.7;
  EXPECT_EQ(Text(request).find("Denoising strength"), std::string::npos) << "nothing was";
  request.init_image = std::make_shared<const RgbImage>();
  EXPECT_NE(Text(request).find(", RNG: CPU, Denoising strength: 0.7, "), std::string::npos);
  request.strength = 0.9999;
  request.mask = std::make_shared<const ImageMask>();
  EXPECT_NE(Text(request).find(", Denoising strength: 0.9999, "), std::string::npos);
}

TEST(ParametersTextTest, TellsWhichPartOfAnImageWasDrawn) {
  GenerationParameters request = Request();
  request.init_image = std::make_shared<const RgbImage>();
  request.mask_blur_px = 4;
  EXPECT_EQ(Text(request).find("Mask blur"), std::string::npos) << "without a mask";
  request.mask = std::make_shared<const ImageMask>();
  EXPECT_NE(Text(request).find(", Mask blur: 4, Emphasis"), std::string::npos);
  request.inpaint_area = InpaintArea::kMasked;
  request.inpaint_padding_px = 48;
  request.outpaint = {1, 0, 3, 0};
  EXPECT_NE(Text(request).find(
                ", Mask blur: 4, Inpaint area: Only masked, Masked area padding: 48, Emphasis"),
            std::string::npos);
  EXPECT_NE(Text(request).find(", Outpaint: \"1,0,3,0\", "), std::string::npos);
}

TEST(ParametersTextTest, FollowsTheLayoutOfA1111) {
  GenerationParameters request = Request();
  request.negative_prompt = "blurry";
  EXPECT_EQ(Text(request),
            "a cat\n"
            "Negative prompt: blurry\n"
            "Steps: 25, Sampler: Euler a, CFG scale: 5, Seed: 7, Size: 64x48, "
            "Model hash: 0123456789, Model: name, Clip skip: 2, RNG: CPU, Emphasis: No norm, "
            "Version: tightfit " TIGHTFIT_VERSION);
}

TEST(ParametersTextTest, TellsAnAbsentNegativePromptFromAnEmptyOne) {
  GenerationParameters request = Request();
  EXPECT_TRUE(Text(request).starts_with("a cat\nSteps: 25, "));
  request.negative_prompt = "";
  EXPECT_TRUE(Text(request).starts_with("a cat\nNegative prompt: \nSteps: 25, "));
}

TEST(ParametersTextTest, BeginsWithTheStepsWhereThePromptIsEmpty) {
  GenerationParameters request = Request();
  request.prompt = "";
  EXPECT_TRUE(Text(request).starts_with("Steps: 25, "));
}

TEST(ParametersTextTest, CountsClipSkipAsA1111) {
  GenerationParameters request = Request();
  for (const auto& [clip_skip, shown] : {std::pair(0, "2"), std::pair(1, "3"), std::pair(4, "6")}) {
    request.clip_skip = clip_skip;
    EXPECT_NE(Text(request).find("Clip skip: " + std::string(shown) + ","), std::string::npos);
  }
}

TEST(ParametersTextTest, ShowsSamplerAndScheduleApart) {
  GenerationParameters request = Request();
  const auto shown = [&request](const char* sampler, const char* spacing) {
    request.sampler = sampler;
    request.timestep_spacing = spacing;
    const std::string text = Text(request);
    const size_t begin = text.find("Sampler: ");
    return text.substr(begin, text.find(", CFG") - begin);
  };
  EXPECT_EQ(shown("euler", "leading"), "Sampler: Euler");
  EXPECT_EQ(shown("euler", "trailing"), "Sampler: Euler, Schedule type: SGM Uniform");
  EXPECT_EQ(shown("euler-karras", "trailing"), "Sampler: Euler, Schedule type: Karras");
  EXPECT_EQ(shown("euler-exponential", ""), "Sampler: Euler, Schedule type: Exponential");
  // A1111 would take Karras' levels by itself.
  EXPECT_EQ(shown("dpmpp-2m", "leading"), "Sampler: DPM++ 2M, Schedule type: Uniform");
  EXPECT_EQ(shown("dpmpp-2m-karras", ""), "Sampler: DPM++ 2M, Schedule type: Karras");
  EXPECT_EQ(shown("dpmpp-2m-sde-karras", ""), "Sampler: DPM++ 2M SDE, Schedule type: Karras");
  EXPECT_EQ(shown("dpmpp-sde-karras", ""), "Sampler: DPM++ SDE, Schedule type: Karras");
  EXPECT_EQ(shown("dpmpp-2s-a-karras", ""), "Sampler: DPM++ 2S a, Schedule type: Karras");
  EXPECT_EQ(shown("dpmpp-3m-sde", "linspace"), "Sampler: DPM++ 3M SDE, Schedule type: Uniform");
  EXPECT_EQ(shown("kdpm2-a-karras", ""), "Sampler: DPM2 a, Schedule type: Karras");
  EXPECT_EQ(shown("deis-karras", ""), "Sampler: DEIS, Schedule type: Karras");
  EXPECT_EQ(shown("pndm", "leading"), "Sampler: PLMS");
  EXPECT_EQ(shown("ddpm", "leading"), "Sampler: DDPM");
  EXPECT_EQ(shown("ddim", "trailing"), "Sampler: DDIM");
  EXPECT_EQ(shown("another", "trailing"), "Sampler: another");
}

TEST(ParametersTextTest, TellsEverythingThatIsNoDefault) {
  GenerationParameters request = Request();
  request.guidance_rescale = 0.7f;
  request.prompt_syntax = PromptSyntax::kPlain;
  request.timestep_spacing = "linspace";
  request.original_size = {.height_px = 128, .width_px = 256};
  request.target_size = {.height_px = 96, .width_px = 80};
  request.crop_top_left = {.height_px = 4, .width_px = 8};
  request.denoising_start = 0.25f;
  request.denoising_end = 0.8f;
  ModelDescription model = Model();
  model.format = "hf8";
  model.scope = "linear+conv";
  model.compute_dtype = "bf16";
  model.vae_tiling = "always";
  model.vae_tile_px = 32;
  const std::string text = ParametersText(request, 7, model);
  EXPECT_NE(text.find("RNG: CPU, CFG Rescale: 0.7, Emphasis: None, Prompt syntax: plain, "
                      "Timestep spacing: linspace, Original size: 256x128, Target size: 80x96, "
                      "Crop top left: \"8,4\", Denoising start: 0.25, Denoising end: 0.8, "
                      "VAE tile: 32, Weight format: hf8, Weight scope: linear+conv, "
                      "Compute dtype: bf16, Version: "),
            std::string::npos)
      << text;
  request = Request();
  request.original_size = {.height_px = 48, .width_px = 64};
  request.target_size = request.original_size;
  request.crop_top_left = {.height_px = 0, .width_px = 0};
  EXPECT_EQ(Text(request), Text(Request())) << "defaults that were asked for change nothing";
  request.comma_backtrack_tokens = 0;
  EXPECT_NE(Text(request).find("Emphasis: No norm, Comma backtrack: 0, "), std::string::npos);
}

// Lines are trimmed and searched for "Negative prompt:" by every reader.
TEST(ParametersTextTest, RepeatsPromptsThatLinesWouldNotGiveBack) {
  GenerationParameters request = Request();
  for (const auto& [prompt, written] :
       {std::pair("a\nNegative prompt: b", "Prompt: \"a\\nNegative prompt: b\", "),
        std::pair(" a", "Prompt: \" a\", "), std::pair("a\n", "Prompt: \"a\\n\", "),
        std::pair("a \nb", "Prompt: \"a \\nb\", ")}) {
    request.prompt = prompt;
    EXPECT_NE(Text(request).find(written), std::string::npos) << Text(request);
  }
  request.prompt = "a\nNegative prompt: b";
  EXPECT_TRUE(Text(request).starts_with("\"a\\nNegative prompt: b\"\nSteps: 25, "));
  request.prompt = "a\n\nb: (c), \"d\"";
  EXPECT_EQ(Text(request).find("Prompt: "), std::string::npos);
  request.negative_prompt = "b\nNegative prompt: c";
  EXPECT_NE(Text(request).find(", Negative prompt: \"b\\nNegative prompt: c\", Version"),
            std::string::npos);
}

TEST(ParametersTextTest, WritesTheGuidanceScaleWithoutNeedlessDigits) {
  const auto written = [](float guidance_scale) {
    GenerationParameters request = Request();
    request.guidance_scale = guidance_scale;
    const std::string text = Text(request);
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
  EXPECT_NE(ParametersText(Request(), INT64_MAX, Model()).find("Seed: 9223372036854775807, "),
            std::string::npos);
}

TEST(ParametersTextTest, QuotesValuesThatWouldBreakTheList) {
  GenerationParameters request = Request();
  for (const auto& [model, written] :
       {std::pair("a, b", "Model: \"a, b\", "), std::pair("a: \"b\"", "Model: \"a: \\\"b\\\"\", "),
        std::pair("a\nb", "Model: \"a\\nb\", "),
        std::pair("caf\u00E9, x", "Model: \"caf\u00E9, x\", "),
        std::pair("say \"b\"", "Model: say \"b\", "), std::pair("\"b\"", "Model: \"\\\"b\\\"\", "),
        std::pair(" b", "Model: \" b\", "), std::pair("\u3000b", "Model: \"\u3000b\", "),
        std::pair("", "Model: \"\", ")}) {
    request.model = model;
    const std::string text = Text(request);
    EXPECT_NE(text.find(written), std::string::npos) << text;
  }
}

TEST(ParametersTextTest, NamesSecondPromptsBeforeTheVersion) {
  GenerationParameters request = Request();
  request.prompt_2 = "in oil";
  request.negative_prompt_2 = "dark, dull";
  const std::string text = Text(request);
  EXPECT_NE(
      text.find(
          "Emphasis: No norm, Prompt 2: in oil, Negative prompt 2: \"dark, dull\", Version: "),
      std::string::npos)
      << text;
}

TEST(ParametersTextTest, ReplacesNulWhichEndsAPngText) {
  GenerationParameters request = Request();
  request.prompt = std::string("a\0b", 3);
  EXPECT_TRUE(
      Text(request).starts_with("a\uFFFD"
                                "b\nSteps: "));
}

}  // namespace
}  // namespace tightfit
