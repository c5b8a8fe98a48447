#include "server/pipeline/conditioner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace tightfit {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kTokens = 3;
const std::vector<std::string> kSizes = {"original_height", "original_width", "crop_top",
                                         "crop_left",       "target_height",  "target_width"};

// Encoders whose hidden states tell which prompt they saw: its length, 100 more in the second one.
class ConditionerTest : public ::testing::Test {
 protected:
  std::vector<TextEncoder::Encoder> TwoEncoders() { return {MakeHalf(0, 2), MakeHalf(100, 1)}; }

  TextEncoder::Encoder MakeHalf(int64_t offset, int64_t size) {
    return {
        // A chunk for each '|'; every token is the prompt's length.
        .chunk =
            [offset](std::string_view prompt, const PromptReading& reading) {
              const auto token = static_cast<int64_t>(prompt.size()) + offset;
              const float weight = reading.syntax == PromptSyntax::kPlain ? 1.0f : 2.0f;
              ChunkedPrompt chunked;
              chunked.chunks.resize(
                  1 + std::ranges::count(prompt, '|'),
                  {.ids = std::vector<int64_t>(kTokens, token), .weights = {1.0f, weight, 1.0f}});
              chunked.token_count = static_cast<int32_t>(prompt.size()) + 1;
              chunked.used_token_count = static_cast<int32_t>(prompt.size());
              return chunked;
            },
        .network = {.run = [this, size](
                               std::vector<c10::IValue> inputs) -> Result<std::vector<at::Tensor>> {
          ++encoder_calls_;
          const at::Tensor seen = inputs[0].toTensor().to(at::kFloat).unsqueeze(-1);
          const at::Tensor states = seen.expand({-1, kTokens, size});
          return std::vector<at::Tensor>{at::stack({states, states + 1000}), seen.select(1, 0)};
        }}};
  }

  static std::vector<float> Values(const at::Tensor& tensor) {
    const at::Tensor flat = tensor.to(at::kFloat).contiguous().flatten();
    return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
  }
  // What hidden state 0 of each row says.
  static std::vector<float> Rows(const at::Tensor& hidden_states) {
    return Values(hidden_states.select(1, 0).select(1, 0));
  }
  static std::vector<float> SecondRows(const at::Tensor& hidden_states) {
    return Values(hidden_states.select(1, 0).select(1, 2));
  }

  static ConditioningLayout SdxlLayout() {
    return {.takes_pooled = true, .time_ids = kSizes, .force_zeros_for_empty_prompt = true};
  }

  Conditioning Make(const GenerationParameters& parameters, bool force_zeros = true) {
    ConditioningLayout layout = SdxlLayout();
    layout.force_zeros_for_empty_prompt = force_zeros;
    const Conditioner conditioner(TextEncoder(TwoEncoders(), true), layout);
    auto result = conditioner.Make(parameters, at::kFloat);
    EXPECT_TRUE(result.ok()) << result.status().ForLog();
    return std::move(*result);
  }

  GenerationParameters parameters_{.prompt = "12345",
                                   .width_px = 64,
                                   .height_px = 48,
                                   .guidance_scale = 5.0f,
                                   .image_count = 1,
                                   .prompt_syntax = PromptSyntax::kPlain};
  int encoder_calls_ = 0;
};

TEST_F(ConditionerTest, ConcatenatesBothEncodersAndPoolsTheSecond) {
  parameters_.guidance_scale = 1.0f;
  parameters_.prompt_2 = "12";
  const Conditioning conditioning = Make(parameters_);
  EXPECT_THAT(conditioning.text().sizes(), ElementsAre(1, kTokens, 3));
  EXPECT_THAT(Rows(conditioning.text()), ElementsAre(5));
  EXPECT_THAT(SecondRows(conditioning.text()), ElementsAre(102));
  EXPECT_THAT(Values(conditioning.inputs.at(kPooledInput)), ElementsAre(102));
}

TEST_F(ConditionerTest, PutsTheNegativeHalfFirst) {
  parameters_.negative_prompt = "123";
  parameters_.image_count = 2;
  const Conditioning conditioning = Make(parameters_);
  EXPECT_THAT(Rows(conditioning.text()), ElementsAre(3, 3, 5, 5));
  EXPECT_THAT(SecondRows(conditioning.text()), ElementsAre(103, 103, 105, 105));
  EXPECT_THAT(Values(conditioning.inputs.at(kPooledInput)), ElementsAre(103, 103, 105, 105));
  EXPECT_THAT(conditioning.inputs.at(kTimeIdsInput).sizes(), ElementsAre(4, 6));
}

TEST_F(ConditionerTest, AnAbsentNegativePromptIsZerosWhereThePipelineSaysSo) {
  EXPECT_THAT(Rows(Make(parameters_).text()), ElementsAre(0, 5));
  EXPECT_THAT(Values(Make(parameters_).inputs.at(kPooledInput)), ElementsAre(0, 105));
}

TEST_F(ConditionerTest, AnAbsentNegativePromptIsAnEmptyOneElsewhere) {
  EXPECT_THAT(SecondRows(Make(parameters_, false).text()), ElementsAre(100, 105));
}

TEST_F(ConditionerTest, AnEmptyNegativePromptIsEncoded) {
  parameters_.negative_prompt = "";
  EXPECT_THAT(SecondRows(Make(parameters_).text()), ElementsAre(100, 105));
}

TEST_F(ConditionerTest, TheSecondNegativePromptGoesToTheSecondEncoder) {
  parameters_.negative_prompt = "1";
  parameters_.negative_prompt_2 = "1234";
  const Conditioning conditioning = Make(parameters_);
  EXPECT_THAT(Rows(conditioning.text()), ElementsAre(1, 5));
  EXPECT_THAT(SecondRows(conditioning.text()), ElementsAre(104, 105));
}

TEST_F(ConditionerTest, ASecondNegativePromptAloneDoesNotUndoTheZeros) {
  parameters_.negative_prompt_2 = "1234";
  EXPECT_THAT(SecondRows(Make(parameters_).text()), ElementsAre(0, 105));
}

TEST_F(ConditionerTest, EncodesNoNegativePromptWithoutGuidance) {
  parameters_.guidance_scale = 1.0f;
  parameters_.negative_prompt = "123";
  EXPECT_THAT(Rows(Make(parameters_).text()), ElementsAre(5));
  EXPECT_EQ(encoder_calls_, 2);
}

TEST_F(ConditionerTest, CastsEmbeddingsButKeepsTimeIdsInFp32) {
  parameters_.width_px = 1027;
  const Conditioner conditioner(TextEncoder(TwoEncoders(), true), SdxlLayout());
  auto conditioning = conditioner.Make(parameters_, at::kBFloat16);
  ASSERT_TRUE(conditioning.ok());
  EXPECT_EQ(conditioning->text().scalar_type(), at::kBFloat16);
  EXPECT_EQ(conditioning->inputs.at(kPooledInput).scalar_type(), at::kBFloat16);
  EXPECT_EQ(conditioning->inputs.at(kTimeIdsInput).scalar_type(), at::kFloat);
  EXPECT_EQ(conditioning->inputs.at(kTimeIdsInput)[0][1].item<float>(), 1027.0f);
}

TEST_F(ConditionerTest, JoinsChunksAndFillsTheShorterPromptUpWithEmptyOnes) {
  parameters_.prompt = "12|45";
  parameters_.negative_prompt = "123";
  const Conditioning conditioning = Make(parameters_);
  EXPECT_THAT(conditioning.text().sizes(), ElementsAre(2, 2 * kTokens, 3));
  EXPECT_THAT(Values(conditioning.text().select(2, 0)),
              ElementsAre(3, 3, 3, 0, 0, 0, 5, 5, 5, 5, 5, 5));
  EXPECT_THAT(Values(conditioning.inputs.at(kPooledInput)), ElementsAre(103, 105));
}

TEST_F(ConditionerTest, AbsentNegativesAreZerosOverEveryChunk) {
  parameters_.prompt_2 = "1|3";
  const Conditioning conditioning = Make(parameters_);
  EXPECT_THAT(Values(conditioning.text().select(2, 0)),
              ElementsAre(0, 0, 0, 0, 0, 0, 5, 5, 5, 0, 0, 0));
}

TEST_F(ConditionerTest, WeighsTheHiddenStatesOfATokenAndNotThePooledEmbedding) {
  parameters_.guidance_scale = 1.0f;
  parameters_.prompt_syntax = PromptSyntax::kWeighted;
  const Conditioning conditioning = Make(parameters_);
  EXPECT_THAT(Values(conditioning.text().select(2, 0)), ElementsAre(5, 10, 5));
  EXPECT_THAT(Values(conditioning.inputs.at(kPooledInput)), ElementsAre(105));
}

TEST_F(ConditionerTest, ClipSkipIsOfThePositivePromptAlone) {
  parameters_.negative_prompt = "123";
  parameters_.clip_skip = 1;
  const Conditioning conditioning = Make(parameters_);
  EXPECT_THAT(Rows(conditioning.text()), ElementsAre(3, 1005));
  EXPECT_THAT(SecondRows(conditioning.text()), ElementsAre(103, 1105));
}

TEST_F(ConditionerTest, TellsTheTokensOfThePromptsThatWereGiven) {
  parameters_.prompt_2 = "12|4";
  parameters_.negative_prompt = "123";
  const std::vector<PromptTokens> tokens = Make(parameters_).prompt_tokens;
  ASSERT_EQ(tokens.size(), 3u);
  EXPECT_EQ(tokens[0].field, "prompt");
  EXPECT_EQ(tokens[0].token_count, 6);
  EXPECT_EQ(tokens[0].used_token_count, 5);
  EXPECT_EQ(tokens[0].chunk_count, 1);
  EXPECT_EQ(tokens[1].field, "prompt_2");
  EXPECT_EQ(tokens[1].chunk_count, 2);
  EXPECT_EQ(tokens[2].field, "negative_prompt");
  EXPECT_EQ(tokens[2].used_token_count, 3);
}

TEST_F(ConditionerTest, TellsThatANegativePromptIsNotUsedWithoutGuidance) {
  parameters_.guidance_scale = 1.0f;
  parameters_.negative_prompt = "123";
  const std::vector<PromptTokens> tokens = Make(parameters_).prompt_tokens;
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_EQ(tokens[1].token_count, 4);
  EXPECT_EQ(tokens[1].used_token_count, 0);
  EXPECT_EQ(tokens[1].chunk_count, 0);
}

TEST_F(ConditionerTest, ReturnsAnEncodersError) {
  TextEncoder::Encoder failing = MakeHalf(0, 2);
  failing.network.run = [](std::vector<c10::IValue>) -> Result<std::vector<at::Tensor>> {
    return Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "full");
  };
  const Conditioner conditioner(TextEncoder({MakeHalf(0, 2), std::move(failing)}, true),
                                SdxlLayout());
  const auto conditioning = conditioner.Make(parameters_, at::kFloat);
  ASSERT_FALSE(conditioning.ok());
  EXPECT_EQ(conditioning.status().reason(), "OUT_OF_MEMORY");
}

TEST_F(ConditionerTest, OfAModelWithOneEncoderTellsTheTextAlone) {
  const Conditioner conditioner(
      TextEncoder({MakeHalf(0, 2)}, false),
      {.takes_pooled = false, .time_ids = {}, .force_zeros_for_empty_prompt = false});
  parameters_.image_count = 2;
  auto conditioning = conditioner.Make(parameters_, at::kFloat);
  ASSERT_TRUE(conditioning.ok()) << conditioning.status().ForLog();
  EXPECT_THAT(conditioning->inputs, ::testing::SizeIs(1));
  EXPECT_THAT(conditioning->text().sizes(), ElementsAre(4, kTokens, 2));
  EXPECT_THAT(Rows(conditioning->text()), ElementsAre(0, 0, 5, 5));
  EXPECT_EQ(encoder_calls_, 2);
}

TEST_F(ConditionerTest, TellsTheGuidanceScaleWhereTheDenoiserTakesIt) {
  ConditioningLayout layout = SdxlLayout();
  layout.guidance_embedding_size = 4;
  parameters_.embeds_guidance = true;
  parameters_.image_count = 2;
  const Conditioner conditioner(TextEncoder(TwoEncoders(), true), layout);
  auto conditioning = conditioner.Make(parameters_, at::kFloat);
  ASSERT_TRUE(conditioning.ok());
  EXPECT_THAT(conditioning->text().sizes(), ElementsAre(2, kTokens, 3)) << "no negative half";
  EXPECT_THAT(conditioning->inputs.at(kGuidanceInput).sizes(), ElementsAre(2, 4));
}

// diffusers 0.42.1: StableDiffusionPipeline.get_guidance_scale_embedding(torch.tensor([2.0]), 4).
TEST(GuidanceEmbeddingTest, IsThatOfDiffusers) {
  const at::Tensor embedding = GuidanceEmbedding(3.0f, 4);
  const std::vector<float> expected = {0.93003941f, 0.19866933f, -0.36745948f, 0.98006660f};
  ASSERT_EQ(embedding.numel(), 4);
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(embedding[0][i].item<float>(), expected[i], 2e-4) << i;
  }
}

TEST(TimeIdsTest, AreTheImagesSizeUnlessToldOtherwise) {
  GenerationParameters parameters{.width_px = 64, .height_px = 48};
  EXPECT_THAT(TimeIds(kSizes, parameters), ElementsAre(48, 64, 0, 0, 48, 64));
  parameters.original_size = {.height_px = 1, .width_px = 2};
  parameters.crop_top_left = {.height_px = 3, .width_px = 4};
  parameters.target_size = {.height_px = 5, .width_px = 6};
  EXPECT_THAT(TimeIds(kSizes, parameters), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(TimeIds({"crop_left", "original_height"}, parameters), ElementsAre(4, 1));
  EXPECT_FALSE(IsTimeId("crop"));
}

}  // namespace
}  // namespace tightfit
