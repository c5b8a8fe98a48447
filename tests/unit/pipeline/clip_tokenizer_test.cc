#include "server/pipeline/clip_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

namespace tightfit {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

std::unique_ptr<ClipTokenizer> LoadClip(const std::string& name) {
  auto tokenizer = ClipTokenizer::Load(std::string(TIGHTFIT_CLIP_VOCABULARY_DIR) + "/" + name);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ForLog();
  return tokenizer.ok() ? std::move(tokenizer).value() : nullptr;
}

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// The file's lines and their fields: tests/python/make_tokenizer_golden.py.
class ClipTokenizerGoldenTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ClipTokenizerGoldenTest, GivesTheIdsThatTransformersGives) {
  std::string name = GetParam();
  const std::unique_ptr<ClipTokenizer> tokenizer = LoadClip(name);
  if (name == "tokenizer_json") name = "tokenizer_2";  // the same in one file
  ASSERT_NE(tokenizer, nullptr);
  const int64_t padding_id = name == "tokenizer" ? 49407 : 0;
  std::ifstream file(TIGHTFIT_SOURCE_DIR "/tests/golden/tokenizer/prompts.jsonl");
  int prompt_count = 0;
  for (std::string line; std::getline(file, line); ++prompt_count) {
    const Json golden = Json::parse(line);
    const std::string prompt = golden.contains("prompt")
                                   ? golden["prompt"].get<std::string>()
                                   : FromHex(golden["prompt_hex"].get<std::string>());
    auto expected = golden[golden.contains(name) ? name : "tokenizer"].get<std::vector<int64_t>>();
    const int64_t token_count = expected.front();
    expected.erase(expected.begin());
    expected.resize(ClipTokenizer::kMaxLength, padding_id);

    const TokenizedPrompt tokenized = tokenizer->Tokenize(prompt);
    EXPECT_EQ(tokenized.ids, expected) << line;
    EXPECT_EQ(tokenized.token_count, token_count) << line;
    EXPECT_EQ(tokenized.truncated, token_count > ClipTokenizer::kMaxLength - 2) << line;
    if (HasFailure()) break;
  }
  EXPECT_GE(prompt_count, 5000);
}

INSTANTIATE_TEST_SUITE_P(Padding, ClipTokenizerGoldenTest,
                         ::testing::Values("tokenizer", "tokenizer_2", "tokenizer_any_case",
                                           "tokenizer_json"),
                         [](const auto& info) { return std::string(info.param); });

TEST(ClipTokenizerTest, GivesTheSameIdsToManyThreads) {
  const std::unique_ptr<ClipTokenizer> tokenizer = LoadClip("tokenizer_2");
  ASSERT_NE(tokenizer, nullptr);
  const std::string prompt = "Caf\u00E9 au lait, \u732B! <|endoftext|>";
  const std::vector<int64_t> expected = tokenizer->Tokenize(prompt).ids;
  std::vector<int> differing(4);
  std::vector<std::thread> threads;
  for (int& count : differing) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) count += tokenizer->Tokenize(prompt).ids != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(differing, Each(0));
}

// A tokenizer directory that goes away with the test.
class SmallTokenizerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "tokenizer-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    Write("vocab.json", R"({"a": 0, "a</w>": 1, "b</w>": 2, "ab</w>": 3,
                            "<|startoftext|>": 4, "<|endoftext|>": 5})");
    Write("merges.txt", "#version: 0.2\na b</w>\n");
    Write("tokenizer_config.json", R"({"pad_token": "<|endoftext|>"})");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void Write(const char* file_name, const std::string& text) {
    std::ofstream(directory_ / file_name, std::ios::binary) << text;
  }
  void ExpectDataLoss(const char* file_name) {
    const auto tokenizer = ClipTokenizer::Load(directory_.string());
    ASSERT_FALSE(tokenizer.ok()) << file_name;
    EXPECT_EQ(tokenizer.status().code(), StatusCode::kDataLoss);
    EXPECT_THAT(tokenizer.status().message(),
                AllOf(HasSubstr(file_name), Not(HasSubstr(directory_.string()))));
  }

  std::filesystem::path directory_;
};

TEST_F(SmallTokenizerTest, AcceptsAVocabularyOfAnySize) {
  const auto tokenizer = ClipTokenizer::Load(directory_.string());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ForLog();
  const TokenizedPrompt tokenized = (*tokenizer)->Tokenize("AB a z");
  EXPECT_EQ(tokenized.token_count, 3);
  EXPECT_THAT(std::vector<int64_t>(tokenized.ids.begin(), tokenized.ids.begin() + 5),
              ElementsAre(4, 3, 1, 5, 5));  // `z` is unknown: the end token, as in CLIP
}

TEST_F(SmallTokenizerTest, NamesTheFileThatIsMissing) {
  for (const char* file_name : {"tokenizer_config.json", "merges.txt"}) {
    std::filesystem::remove(directory_ / file_name);
    ExpectDataLoss(file_name);
  }
}

TEST_F(SmallTokenizerTest, NamesTheFileThatIsDamaged) {
  Write("tokenizer_config.json", R"({"pad_token": "c"})");
  ExpectDataLoss("tokenizer_config.json");
  Write("merges.txt", "b</w> a\n");
  Write("tokenizer_config.json", "{}");
  ExpectDataLoss("merges.txt");
  Write("vocab.json", "{");
  ExpectDataLoss("vocab.json");
}

TEST_F(SmallTokenizerTest, ReadsOneFileInPlaceOfTwo) {
  std::filesystem::remove(directory_ / "vocab.json");
  std::filesystem::remove(directory_ / "merges.txt");
  const char* const vocabulary = R"({"a": 0, "a</w>": 1, "b</w>": 2, "ab</w>": 3})";
  const auto write = [&](const std::string& model, const std::string& added) {
    Write("tokenizer.json",
          (R"({"added_tokens": [)" + added + R"(], "model": )" + model + "}").c_str());
  };
  const std::string added =
      R"({"id": 4, "content": "<|startoftext|>"}, {"id": 5, "content": "<|endoftext|>"},
         {"id": 6, "content": "<z>", "normalized": false})";
  for (const char* merges : {R"(["a b</w>"])", R"([["a", "b</w>"]])"}) {
    write(std::string(R"({"type": "BPE", "end_of_word_suffix": "</w>", "vocab": )") + vocabulary +
              R"(, "merges": )" + merges + "}",
          added);
    const auto tokenizer = ClipTokenizer::Load(directory_.string());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ForLog();
    EXPECT_THAT((*tokenizer)->Tokens("AB a <z>"), ElementsAre(3, 1, 6));
  }
  for (const char* bad : {"[]", R"({"type": "Unigram", "vocab": []})",
                          R"({"type": "BPE", "end_of_word_suffix": "", "vocab": {}, "merges": []})",
                          R"({"type": "BPE", "end_of_word_suffix": "</w>", "merges": []})",
                          R"({"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"a": -1},
                              "merges": []})",
                          R"({"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"a": 0},
                              "merges": [["a"]]})",
                          R"({"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"a": 0},
                              "merges": [7]})"}) {
    write(bad, added);
    ExpectDataLoss("tokenizer.json");
  }
  Write("tokenizer.json", "{");
  ExpectDataLoss("tokenizer.json");
}

TEST_F(SmallTokenizerTest, RefusesADirectoryInPlaceOfAFile) {
  std::filesystem::remove(directory_ / "merges.txt");
  std::filesystem::create_directory(directory_ / "merges.txt");
  ExpectDataLoss("merges.txt");
}

}  // namespace
}  // namespace tightfit
