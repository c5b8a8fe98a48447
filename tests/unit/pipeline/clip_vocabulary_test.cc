#include "server/pipeline/clip_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

const TokenIds kVocabulary = {{"!", 0}, {"<|startoftext|>", 1}, {"<|endoftext|>", 2}};

template <typename T>
void ExpectDataLoss(const Result<T>& result, const char* file_name, const char* what) {
  ASSERT_FALSE(result.ok()) << what;
  EXPECT_EQ(result.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(result.status().message(), AllOf(HasSubstr(file_name), HasSubstr(what)));
}

TEST(VocabularyFileTest, GivesIdsByTokenText) {
  const Result<TokenIds> ids = ParseVocabulary(R"({"\u0120a": 1, "!": 0})");
  ASSERT_TRUE(ids.ok()) << ids.status().message();
  EXPECT_THAT(*ids, UnorderedElementsAre(Pair("!", 0), Pair("\u0120a", 1)));
}

TEST(VocabularyFileTest, RefusesWhatIsNoVocabulary) {
  const auto expect = [](const char* json, const char* what) {
    ExpectDataLoss(ParseVocabulary(json), "vocab.json", what);
  };
  expect("", "no valid JSON");
  expect(R"({"a": 0, "b")", "no valid JSON");
  expect(R"({"a": 0} {)", "no valid JSON");
  expect("{\"\xFF\": 0}", "no valid JSON");
  expect("{}", "no tokens");
  expect("[0]", "not an id");
  expect("7", "not an object");
  expect(R"({"a": {"b": 0}})", "nested object");
  expect(R"({"a": -1})", "not an id");
  expect(R"({"a": 0.5})", "not an id");
  expect(R"({"a": "0"})", "not an id");
  expect(R"({"a": 4294967296})", "too large");
  expect(R"({"a": 0, "a": 1})", "token comes twice");
  expect(R"({"a": 0, "b": 0})", "each once");
  expect(R"({"a": 0, "b": 2})", "each once");
}

TEST(MergesFileTest, GivesPairsInOrderWithOrWithoutAVersionLine) {
  for (const char* text : {"#version: 0.2\na b\nc d</w>\n", "a b\nc d</w>", "a b\r\nc d</w>\r\n"}) {
    const Result<Merges> merges = ParseMerges(text);
    ASSERT_TRUE(merges.ok()) << merges.status().message();
    EXPECT_THAT(*merges, ElementsAre(Pair("a", "b"), Pair("c", "d</w>")));
  }
}

TEST(MergesFileTest, RefusesLinesThatAreNotTwoParts) {
  ExpectDataLoss(ParseMerges("#version: 0.2\na b\nc\n"), "merges.txt", "line 3");
  ExpectDataLoss(ParseMerges("a b c\n"), "merges.txt", "line 1");
  ExpectDataLoss(ParseMerges("a \n"), "merges.txt", "line 1");
  ExpectDataLoss(ParseMerges(" a\n"), "merges.txt", "line 1");
  ExpectDataLoss(ParseMerges("a b\n\nc d\n"), "merges.txt", "line 2");
}

TEST(TokenizerConfigTest, FallsBackToTheSpecialTokensOfClip) {
  const Result<TokenizerConfig> config = ParseTokenizerConfig("{}", kVocabulary);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->start_id, 1);
  EXPECT_EQ(config->end_id, 2);
  EXPECT_EQ(config->unknown_id, 2);
  EXPECT_EQ(config->padding_id, 2);
  EXPECT_EQ(config->added_tokens.size(), 2u);
}

TEST(TokenizerConfigTest, MakesThePaddingTokenAnAddedToken) {
  const Result<TokenizerConfig> config = ParseTokenizerConfig(R"({"pad_token": "!"})", kVocabulary);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->padding_id, 0);
  ASSERT_EQ(config->added_tokens.size(), 3u);
  EXPECT_EQ(config->added_tokens.back().content, "!");
}

TEST(TokenizerConfigTest, LetsTheLastDescriptionOfATokenWinAndTheDecoderOverAll) {
  const auto end_is_normalized = [](const char* json) {
    const Result<TokenizerConfig> config = ParseTokenizerConfig(json, kVocabulary);
    EXPECT_TRUE(config.ok()) << config.status().message();
    for (const AddedToken& token : config->added_tokens) {
      if (token.id == 2) return token.is_normalized;
    }
    ADD_FAILURE() << "no end token";
    return false;
  };
  // pad_token, absent, is the end token as plain text.
  EXPECT_FALSE(
      end_is_normalized(R"({"unk_token": {"content": "<|endoftext|>", "normalized": true}})"));
  EXPECT_TRUE(end_is_normalized(
      R"({"unk_token": {"content": "<|endoftext|>", "normalized": true}, "pad_token": "!"})"));
  EXPECT_TRUE(end_is_normalized(
      R"({"added_tokens_decoder": {"2": {"content": "<|endoftext|>", "normalized": true}}})"));
}

TEST(TokenizerConfigTest, TakesTokensBeyondTheVocabularyFromTheDecoder) {
  const Result<TokenizerConfig> config =
      ParseTokenizerConfig(R"({"added_tokens_decoder": {"3": {"content": "<cat>"}}})", kVocabulary);
  ASSERT_TRUE(config.ok()) << config.status().message();
  ASSERT_EQ(config->added_tokens.size(), 3u);
  EXPECT_EQ(config->added_tokens.back().id, 3);
}

TEST(TokenizerConfigTest, RefusesWhatContradictsItselfOrTheVocabulary) {
  const auto expect = [](const char* json, const char* what) {
    ExpectDataLoss(ParseTokenizerConfig(json, kVocabulary), "tokenizer_config.json", what);
  };
  expect("", "no valid JSON object");
  expect("[]", "no valid JSON object");
  expect(R"({"pad_token": "<pad>"})", "pad_token is no token");
  expect(R"({"pad_token": ""})", "pad_token is no token");
  expect(R"({"pad_token": null})", "pad_token is neither text nor");
  expect(R"({"bos_token": 1})", "bos_token is neither text nor");
  expect(R"({"eos_token": {"content": 5}})", "eos_token is neither text nor");
  expect(R"({"eos_token": {"content": "!", "normalized": 1}})", "normalized is not true or false");
  expect(R"({"pad_token": {"content": "!", "lstrip": true}})", "lstrip");
  expect(R"({"added_tokens_decoder": []})", "not an object");
  expect(R"({"added_tokens_decoder": {"x": {"content": "!"}}})", "no id");
  expect(R"({"added_tokens_decoder": {"1": {"content": "!"}}})", "contradicts vocab.json");
  expect(R"({"added_tokens_decoder": {"1": {"content": ""}}})", "contradicts vocab.json");
}

}  // namespace
}  // namespace tightfit
