// What a request says of prompts, samplers and steps in other tools' words, as the answers tell it.
#include "tests/unit/rpc/rpc_fixture.h"

#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PromptRequestsTest : public RpcFixture {
 protected:
  v1::Started Started(const v1::ImageParameters& parameters) {
    v1::StreamImagesRequest request;
    *request.mutable_parameters() = parameters;
    const StreamResult result = Stream(request);
    EXPECT_TRUE(result.status.ok()) << result.status.error_message();
    for (const v1::StreamImagesResponse& event : result.events) {
      if (event.has_started()) return event.started();
    }
    return {};
  }

  v1::GenerateImagesResponse Generated(const v1::ImageParameters& parameters) {
    v1::GenerateImagesRequest request;
    *request.mutable_parameters() = parameters;
    v1::GenerateImagesResponse response;
    grpc::ClientContext context;
    const grpc::Status status = images_->GenerateImages(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  v1::EstimateImagesResponse Estimated(const v1::ImageParameters& parameters) {
    v1::EstimateImagesRequest request;
    *request.mutable_parameters() = parameters;
    v1::EstimateImagesResponse response;
    grpc::ClientContext context;
    const grpc::Status status = images_->EstimateImages(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
};

std::vector<std::string> TextsOf(const google::protobuf::RepeatedPtrField<v1::Warning>& warnings) {
  std::vector<std::string> texts;
  for (const v1::Warning& warning : warnings) {
    EXPECT_FALSE(warning.message().empty());
    texts.push_back(warning.reason() + " " + warning.field() + " " +
                    std::to_string(warning.offset_bytes()) + " " + warning.text());
  }
  return texts;
}

TEST_F(PromptRequestsTest, WarningsOfEveryPromptAreInEveryReply) {
  StartServer();
  v1::ImageParameters parameters;
  parameters.set_step_count(1);
  parameters.set_prompt("red apple\r\n<lora:add_detail:0.8>");
  parameters.set_prompt_2("apple++");
  parameters.set_negative_prompt("[a:b:0.5]");
  parameters.set_negative_prompt_2("bad, embedding:hands");
  const auto expected = ElementsAre("LORA_IGNORED prompt 11 <lora:add_detail:0.8>",
                                    "MARKUP_READ_AS_TEXT prompt_2 0 apple++",
                                    "MARKUP_READ_AS_TEXT negative_prompt 0 [a:b:0.5]",
                                    "EMBEDDING_READ_AS_TEXT negative_prompt_2 5 embedding:hands");
  EXPECT_THAT(TextsOf(Started(parameters).warnings()), expected);
  EXPECT_THAT(TextsOf(Generated(parameters).warnings()), expected);
  EXPECT_THAT(TextsOf(Estimated(parameters).warnings()), expected);
}

TEST_F(PromptRequestsTest, CleanPromptsHaveNoWarnings) {
  StartServer();
  v1::ImageParameters parameters;
  parameters.set_step_count(1);
  parameters.set_prompt("a (red:1.3) apple, [blurry] BREAK \\(leaf\\) at 10:30");
  parameters.set_negative_prompt("");
  EXPECT_THAT(Started(parameters).warnings(), IsEmpty());
  EXPECT_THAT(Generated(parameters).warnings(), IsEmpty());
  EXPECT_THAT(Estimated(parameters).warnings(), IsEmpty());
}

TEST_F(PromptRequestsTest, AtMost32WarningsAreTold) {
  StartServer();
  v1::ImageParameters parameters;
  parameters.set_step_count(1);
  std::string prompt;
  for (int i = 0; i < 20; ++i) prompt += "dog++ ";
  parameters.set_prompt(prompt);
  parameters.set_negative_prompt(prompt);
  EXPECT_EQ(Started(parameters).warnings_size(), 32);
}

TEST_F(PromptRequestsTest, DefaultsAreResolved) {
  StartServer();
  v1::ImageParameters parameters;
  parameters.set_step_count(1);
  const v1::ResolvedParameters resolved = Started(parameters).parameters();
  EXPECT_EQ(resolved.timestep_spacing(), "leading");
  EXPECT_EQ(resolved.comma_backtrack_tokens(), 20);
  EXPECT_EQ(resolved.sampler(), "euler");
  parameters.set_prompt_syntax(v1::PROMPT_SYNTAX_PLAIN);
  EXPECT_EQ(Estimated(parameters).parameters().comma_backtrack_tokens(), 0);
}

TEST_F(PromptRequestsTest, WhatIsAskedForIsResolved) {
  StartServer();
  v1::ImageParameters parameters;
  parameters.set_step_count(1);
  parameters.set_timestep_spacing("trailing");
  parameters.set_comma_backtrack_tokens(7);
  parameters.set_sampler("Euler a");
  for (const v1::ResolvedParameters& resolved :
       {Started(parameters).parameters(), Generated(parameters).parameters(),
        Estimated(parameters).parameters()}) {
    EXPECT_EQ(resolved.timestep_spacing(), "trailing");
    EXPECT_EQ(resolved.comma_backtrack_tokens(), 7);
    EXPECT_EQ(resolved.sampler(), "euler-a");
  }
}

TEST_F(PromptRequestsTest, EveryLineEndIsANewline) {
  StartServer();
  const auto token_count = [this](const char* prompt) {
    v1::ImageParameters parameters;
    parameters.set_step_count(1);
    parameters.set_prompt(prompt);
    // The fake model counts bytes.
    return Generated(parameters).prompt_tokens(0).token_count();
  };
  EXPECT_EQ(token_count("a\r\nb"), 3);
  EXPECT_EQ(token_count("a\rb"), 3);
  EXPECT_EQ(token_count("a\r\r\nb\r"), 5);
}

TEST_F(PromptRequestsTest, AModelsDefaultsTellItsSpacing) {
  StartServer();
  const auto models = v1::ModelService::NewStub(channel_);
  v1::GetModelRequest request;
  request.set_name("fake");
  v1::GetModelResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(models->GetModel(&context, request, &response).ok());
  EXPECT_EQ(response.model().defaults().timestep_spacing(), "leading");
}

}  // namespace
}  // namespace tightfit
