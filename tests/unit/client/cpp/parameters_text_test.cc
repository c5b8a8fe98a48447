#include "client/cpp/parameters_text.h"

#include "client/cpp/parameters_list.h"
#include "client/cpp/server_types.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace tightfit::client {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

DrawnImage Read(const std::string& text) {
  const Result<DrawnImage> image = RequestFromParametersText(text);
  EXPECT_TRUE(image.ok()) << image.status().message() << "\n" << text;
  return image.ok() ? *image : DrawnImage();
}

// A text of A1111's, with this sampler and schedule and what else is given.
DrawnImage Foreign(const std::string& sampler, const std::string& more = "") {
  return Read("a cat\nSteps: 20, Sampler: " + sampler +
              ", CFG scale: 7, Seed: 1, Size: 832x1216, RNG: CPU, Version: v1.10.1" + more);
}

TEST(ParametersTextTest, ReadsTheStrengthOfWhatWasDrawnOver) {
  const DrawnImage image = Foreign("Euler", ", Denoising strength: 0.7, Mask blur: 4");
  EXPECT_EQ(image.request.strength, 0.7);
  EXPECT_EQ(image.request.mask_blur_px, 4);
  EXPECT_THAT(image.notes, IsEmpty());
  EXPECT_EQ(Foreign("Euler").request.strength, std::nullopt);
}

TEST(ParametersTextTest, ReadsWhichPartWasDrawn) {
  const std::string area = ", Mask blur: 4, Inpaint area: Only masked, Masked area padding: 48";
  DrawnImage image = Foreign("Euler", area);
  EXPECT_EQ(image.request.inpaint_area, InpaintArea::kMasked);
  EXPECT_EQ(image.request.inpaint_padding_px, 48);
  EXPECT_THAT(image.notes, IsEmpty());
  image = Foreign("Euler", ", Mask blur: 4, Inpaint area: Whole picture");
  EXPECT_EQ(image.request.inpaint_area, std::nullopt);
  EXPECT_THAT(image.notes, IsEmpty());
  // What is written otherwise is another program's.
  image = Foreign("Euler", ", Mask blur: 4.5, Inpaint area: Padded, Outpaint: left");
  EXPECT_EQ(image.request.mask_blur_px, std::nullopt);
  EXPECT_EQ(image.request.inpaint_area, std::nullopt);
  EXPECT_EQ(image.request.outpaint.has_value(), false);
  EXPECT_THAT(image.notes,
              ElementsAre("not done here: Mask blur: 4.5", "not done here: Inpaint area: Padded",
                          "not done here: Outpaint: left"));
}

TEST(ParametersTextTest, ReadsMarginsOfItsOwnAlone) {
  const auto own = [](const std::string& value) {
    return RequestFromParametersText("a\nSteps: 1, Sampler: Euler, Seed: 1, RNG: CPU, Outpaint: " +
                                     value + ", Version: tightfit 0.1.0");
  };
  const Result<DrawnImage> image = own("\"1,2,3,4\"");
  ASSERT_TRUE(image.ok()) << image.status().message();
  ASSERT_TRUE(image->request.outpaint.has_value());
  EXPECT_EQ(image->request.outpaint->left_px, 1);
  EXPECT_EQ(image->request.outpaint->top_px, 2);
  EXPECT_EQ(image->request.outpaint->right_px, 3);
  EXPECT_EQ(image->request.outpaint->bottom_px, 4);
  for (const char* const bad :
       {"1", "\"1,2,3\"", "\"1,2,3,4,5\"", "\"1,2,3,x\"", "\",,,\"", "\"1,2,3,99999999999\""}) {
    const Result<DrawnImage> refused = own(bad);
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_THAT(refused.status().message(), HasSubstr("which is no four numbers")) << bad;
  }
}

TEST(ParametersTextTest, TakesTheStrengthOfAnEnlargementForNoDrawingOver) {
  for (const char* const enlarged : {", Hires upscale: 2", ", First pass size: 0x0"}) {
    const DrawnImage image = Foreign("Euler", std::string(", Denoising strength: 0.7") + enlarged);
    EXPECT_EQ(image.request.strength, std::nullopt);
    EXPECT_THAT(image.notes, Contains(HasSubstr("Denoising strength: 0.7")));
  }
}

TEST(ParametersTextTest, ReadsAllThatTightfitWrites) {
  const DrawnImage image = Read(
      "a (cat:1.2)\nsecond line\nNegative prompt: \nSteps: 25, Sampler: DPM++ 2M, Schedule type: "
      "Karras, CFG scale: 5.5, Seed: 9223372036854775806, Size: 64x48, Model hash: 0123456789, "
      "Model: \"a, b\", Clip skip: 3, RNG: CPU, CFG Rescale: 0.7, Emphasis: No norm, Comma "
      "backtrack: 0, Timestep spacing: trailing, Original size: 256x128, Target size: 80x96, Crop "
      "top left: \"8,4\", Denoising start: 0.25, Denoising end: 0.8, VAE tile: 32, Weight format: "
      "hf8, Weight scope: linear, Compute dtype: bf16, Prompt 2: \"\", Negative prompt 2: \"x: "
      "\\\"y\\\"\\n\", Version: tightfit 0.1.0");
  const ImageRequest& request = image.request;
  EXPECT_TRUE(image.is_by_tightfit);
  EXPECT_THAT(image.notes, IsEmpty());
  EXPECT_EQ(request.prompt, "a (cat:1.2)\nsecond line");
  EXPECT_EQ(request.negative_prompt, "");
  EXPECT_EQ(request.prompt_2, "");
  EXPECT_EQ(request.negative_prompt_2, "x: \"y\"\n");
  EXPECT_EQ(request.step_count, 25);
  EXPECT_EQ(request.sampler, "dpmpp-2m-karras");
  EXPECT_EQ(request.guidance_scale, 5.5f);
  EXPECT_EQ(request.seed, 9223372036854775806);
  EXPECT_EQ(request.width_px, 64);
  EXPECT_EQ(request.height_px, 48);
  EXPECT_EQ(request.model, "a, b");
  EXPECT_EQ(request.clip_skip, 1);
  EXPECT_EQ(request.guidance_rescale, 0.7f);
  EXPECT_EQ(request.prompt_syntax, PromptSyntax::kWeighted);
  EXPECT_EQ(request.comma_backtrack_tokens, 0);
  EXPECT_EQ(request.timestep_spacing, "trailing");
  EXPECT_EQ(request.original_size->width_px, 256);
  EXPECT_EQ(request.target_size->height_px, 96);
  EXPECT_EQ(request.crop_top_left->left_px, 8);
  EXPECT_EQ(request.crop_top_left->top_px, 4);
  EXPECT_EQ(request.denoising_start, 0.25f);
  EXPECT_EQ(request.denoising_end, 0.8f);
  EXPECT_EQ(image.model_hash, "0123456789");
  EXPECT_EQ(image.format, "hf8");
  EXPECT_EQ(image.scope, "linear");
  EXPECT_EQ(image.compute_dtype, "bf16");
}

TEST(ParametersTextTest, TellsAbsentFromEmptyAndPlainFromWeighted) {
  const DrawnImage image =
      Read("Steps: 1, Sampler: new-one, Seed: 1, Emphasis: None, Version: tightfit 0.2");
  EXPECT_EQ(image.request.prompt, "");
  EXPECT_FALSE(image.request.negative_prompt.has_value());
  EXPECT_FALSE(image.request.prompt_2.has_value());
  EXPECT_EQ(image.request.prompt_syntax, PromptSyntax::kPlain);
  EXPECT_EQ(image.request.sampler, "new-one") << "of a newer server, which knows it";
}

TEST(ParametersTextTest, TakesTheExactPromptsOfTheListFirst) {
  const DrawnImage image = Read(
      "a\nNegative prompt: b\nSteps: 1, Sampler: Euler, Seed: 1, Prompt: \"a\\nNegative prompt: "
      "b\", Version: tightfit 0.1.0");
  EXPECT_EQ(image.request.prompt, "a\nNegative prompt: b");
}

TEST(ParametersTextTest, ReadsSamplersAndSchedulesOfA1111AsItMeansThem) {
  struct Case {
    const char* sampler;
    const char* wanted;
    const char* spacing;
    size_t note_count;
  };
  for (const Case& each : {
           Case{"Euler a", "euler-a", "linspace", 0},
           Case{"Euler A", "euler-a", "linspace", 0},
           Case{"Euler, Schedule type: Karras", "euler-karras", "linspace", 0},
           Case{"Euler, Schedule type: karras", "euler-karras", "linspace", 0},
           Case{"Euler, Schedule type: SGM Uniform", "euler", "trailing", 0},
           Case{"Euler, Schedule type: Beta", "euler", "linspace", 1},
           Case{"DPM++ 2M Karras", "dpmpp-2m-karras", "linspace", 0},
           Case{"DPM++ 2M", "dpmpp-2m", "linspace", 0},
           Case{"DPM++ 2M, Schedule type: Automatic", "dpmpp-2m-karras", "linspace", 0},
           Case{"DPM++ 2M, Schedule type: Uniform", "dpmpp-2m", "linspace", 0},
           Case{"DPM++ 2M SDE Karras", "dpmpp-2m-sde-karras", "linspace", 0},
           Case{"DPM++ 2M SDE, Schedule type: Automatic", "dpmpp-2m-sde-karras", "linspace", 1},
           Case{"DPM++ SDE Karras", "dpmpp-sde-karras", "linspace", 0},
           Case{"DPM++ 2S a, Schedule type: Karras", "dpmpp-2s-a-karras", "linspace", 0},
           Case{"DPM++ 3M SDE Karras", "dpmpp-3m-sde-karras", "linspace", 0},
           Case{"DPM++ 3M SDE Exponential", "dpmpp-3m-sde", "linspace", 1},
           Case{"DPM2 a, Schedule type: Automatic", "kdpm2-a-karras", "linspace", 0},
           Case{"DPM2", "kdpm2", "linspace", 0},
           Case{"DEIS", "deis", "linspace", 0},
           Case{"PLMS, Schedule type: Automatic", "pndm", "leading", 0},
           Case{"DDIM", "ddim", "leading", 0},
           Case{"UniPC, Schedule type: Automatic", "unipc", "leading", 0},
           Case{"dpmpp_2m_sde", "dpmpp_2m_sde", "linspace", 0},
           Case{"dpmpp_2m, Schedule type: Karras", "dpmpp_2m Karras", "linspace", 0},
           Case{"dpmpp_2m, Scheduler: karras", "dpmpp_2m karras", "linspace", 0},
           Case{"euler_a karras", "euler_a Karras", "linspace", 0},
           Case{"euler_ancestral, Scheduler: sgm_uniform", "euler_ancestral sgm_uniform",
                "linspace", 0},
           Case{"euler_ancestral, Scheduler: simple", "euler_ancestral", "trailing", 0},
       }) {
    const DrawnImage image = Foreign(each.sampler);
    EXPECT_EQ(image.request.sampler, each.wanted) << each.sampler;
    EXPECT_EQ(image.notes.size(), each.note_count) << each.sampler;
    EXPECT_EQ(image.request.timestep_spacing.value_or("none"), each.spacing) << each.sampler;
  }
  const DrawnImage unknown = Foreign("DPM fast Exponential");
  EXPECT_FALSE(unknown.request.sampler.has_value());
  EXPECT_THAT(unknown.notes, ElementsAre(HasSubstr("DPM fast")));
}

TEST(ParametersTextTest, ReadsClipSkipAndRescaleOfOthers) {
  EXPECT_FALSE(Foreign("Euler").request.clip_skip.has_value());
  EXPECT_EQ(Foreign("Euler", ", Clip skip: 1").request.clip_skip, 0);
  EXPECT_EQ(Foreign("Euler", ", Clip skip: 2").request.clip_skip, 0);
  EXPECT_EQ(Foreign("Euler", ", Clip skip: 3").request.clip_skip, 1);
  for (const char* name :
       {"CFG Rescale", "CFG Rescale phi", "CFG Rescale \u03C6", "Rescale CFG", "CFG rescale"}) {
    const DrawnImage image = Foreign("Euler", ", " + std::string(name) + ": 0.7");
    EXPECT_EQ(image.request.guidance_rescale, 0.7f) << name;
    EXPECT_THAT(image.notes, IsEmpty()) << name;
  }
}

TEST(ParametersTextTest, NotesOnALineEachWhatIsNotDoneHere) {
  const DrawnImage image = Read(
      "a (cat)\nNegative prompt: b\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: "
      "512x512, Model hash: 45dee52b, Model: foo, VAE hash: 1, VAE: x.pt, Denoising strength: 0.5, "
      "ENSD: 31337, Hires upscale: 2, Hires steps: 10, Lora hashes: \"a: 1, b: 2\", Version: v1.9");
  EXPECT_THAT(
      image.notes,
      ElementsAre(HasSubstr("RNG: GPU"), HasSubstr("Emphasis: Original"),
                  "not done here: VAE hash: 1, VAE: x.pt", "not done here: Denoising strength: 0.5",
                  "not done here: ENSD: 31337", "not done here: Hires upscale: 2, Hires steps: 10",
                  "not done here: Lora hashes: a: 1, b: 2"));
}

TEST(ParametersTextTest, ReadsTextThatGoesOnAfterTheList) {
  const DrawnImage image =
      Read("a cat\r\nSteps: 20, Sampler: Euler, Seed: 1, RNG: CPU\r\nTemplate: a {cat|dog}\r\n");
  EXPECT_EQ(image.request.prompt, "a cat");
  EXPECT_EQ(image.request.seed, 1);
}

TEST(ParametersTextTest, RefusesInOneLineWhatItCannotRead) {
  for (const auto& [text, what] :
       {std::pair("", "no list"), std::pair("a cat", "no list"),
        std::pair("Steps: 20, Seed: 1", "no list"),
        std::pair("{\"sui_image_params\": {\"steps\": 20}}", "JSON"),
        std::pair("a\nSteps: many, Sampler: Euler, Seed: 1", "\"Steps: many\""),
        std::pair("a\nSteps: 20, Sampler: Euler, Seed: 18446744073709551616", "\"Seed: "),
        std::pair("a\nSteps: 20, Sampler: Euler, Size: 512", "\"Size: 512\""),
        std::pair("a\nSteps: 20, Sampler: Euler, Size: 99999999999x1", "\"Size: "),
        std::pair("a\nSteps: 20, Sampler: Euler, CFG scale: 7..5", "\"CFG scale: 7..5\""),
        std::pair("\xFF\nSteps: 20, Sampler: Euler, Seed: 1", "UTF-8")}) {
    const Result<DrawnImage> image = RequestFromParametersText(text);
    ASSERT_FALSE(image.ok()) << text;
    EXPECT_THAT(image.status().message(), HasSubstr(what));
    EXPECT_EQ(image.status().message().find('\n'), std::string::npos);
  }
}

TEST(ParametersTextTest, HostileTextsTakeNoLongTime) {
  const auto start = std::chrono::steady_clock::now();
  const auto repeated = [](const std::string& part) {
    std::string text;
    while (text.size() < (1 << 20)) text += part;
    return text;
  };
  for (const char* part :
       {"a", "- ", "aa: \"", "aa:,", "\n", "aa: \"\\\"", "bb: \",", "\xC3\xA9"}) {
    const Result<DrawnImage> image =
        RequestFromParametersText("Steps: 1, Seed: 1, Sampler: x, " + repeated(part));
    if (image.ok()) {
      EXPECT_LE(image->notes.size(), 32u);
    }
  }
  std::string distinct = "Steps: 1, Seed: 1, Sampler: x";
  for (int i = 0; i < 100'000; ++i) distinct += ", k" + std::to_string(i) + ": 1";
  const Result<DrawnImage> image = RequestFromParametersText(distinct);
  ASSERT_TRUE(image.ok());
  EXPECT_LE(image->notes.size(), 32u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

class ChooseModelTest : public ::testing::Test {
 protected:
  ChooseModelTest() {
    for (const char* name : {"first", "second"}) {
      Model model;
      model.name = name;
      model.hash = std::string(name) == "first" ? "1111111111" : "2222222222";
      model.format = "hf8";
      model.scope = "linear";
      models_.push_back(model);
    }
    image_.request.model = "second";
    image_.model_hash = "2222222222";
  }
  std::vector<Model> models_;
  DrawnImage image_;
};

TEST_F(ChooseModelTest, TakesItByNameAndNotesAnotherHashOrPacking) {
  EXPECT_TRUE(ChooseModel(models_, &image_).ok());
  EXPECT_EQ(image_.request.model, "second");
  EXPECT_THAT(image_.notes, IsEmpty());
  image_.model_hash = "1234567890";
  image_.format = "hf12";
  image_.scope = "linear";
  EXPECT_TRUE(ChooseModel(models_, &image_).ok());
  EXPECT_EQ(image_.request.model, "second");
  EXPECT_THAT(image_.notes, ElementsAre(HasSubstr("hash 1234567890, here it has 2222222222"),
                                        HasSubstr("weight format hf12, here it has hf8")));
}

TEST_F(ChooseModelTest, TakesItByHashUnderAnotherName) {
  image_.request.model = "renamed";
  EXPECT_TRUE(ChooseModel(models_, &image_).ok());
  EXPECT_EQ(image_.request.model, "second");
  EXPECT_THAT(image_.notes, IsEmpty());
}

TEST_F(ChooseModelTest, TakesTheOnlyOneWithANoteAndElseNamesWhatIsMissing) {
  image_.request.model = "foreign";
  image_.model_hash = "45dee52b00";
  const Status status = ChooseModel(models_, &image_);
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("foreign"));
  models_.pop_back();
  EXPECT_TRUE(ChooseModel(models_, &image_).ok());
  EXPECT_EQ(image_.request.model, "first");
  EXPECT_THAT(image_.notes, ElementsAre(HasSubstr("first is taken"), HasSubstr("hash")));
}

}  // namespace
}  // namespace tightfit::client
