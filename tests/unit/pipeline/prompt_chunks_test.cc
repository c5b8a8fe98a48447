#include "server/pipeline/prompt_chunks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

namespace tightfit {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr int64_t kStart = 49406;
constexpr int64_t kEnd = 49407;

const ClipTokenizer& Clip() {
  static const ClipTokenizer* const tokenizer = [] {
    auto loaded = ClipTokenizer::Load(TIGHTFIT_CLIP_VOCABULARY_DIR "/tokenizer");
    EXPECT_TRUE(loaded.ok()) << loaded.status().ForLog();
    return std::move(loaded).value().release();
  }();
  return *tokenizer;
}

std::string Words(int count) {
  std::string words;
  for (int i = 0; i < count; ++i) words += "cat ";
  return words;
}

template <typename T>
std::vector<T> First(const std::vector<T>& values, size_t count) {
  return {values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count)};
}

TEST(PromptChunksTest, AShortPlainPromptIsWhatTheTokenizerGives) {
  for (const PromptSyntax syntax : {PromptSyntax::kPlain, PromptSyntax::kWeighted}) {
    const ChunkedPrompt prompt = ChunkPrompt("a photo of a cat", syntax, Clip());
    ASSERT_EQ(prompt.chunks.size(), 1u);
    EXPECT_EQ(prompt.chunks[0].ids, Clip().Tokenize("a photo of a cat").ids);
    EXPECT_THAT(prompt.chunks[0].weights, Each(1.0f));
    EXPECT_EQ(prompt.chunks[0].weights.size(), 77u);
    EXPECT_EQ(prompt.token_count, 5);
    EXPECT_EQ(prompt.used_token_count, 5);
  }
}

TEST(PromptChunksTest, AnEmptyPromptIsOneChunk) {
  for (const PromptSyntax syntax : {PromptSyntax::kPlain, PromptSyntax::kWeighted}) {
    const ChunkedPrompt prompt = ChunkPrompt("", syntax, Clip());
    ASSERT_EQ(prompt.chunks.size(), 1u);
    EXPECT_EQ(prompt.chunks[0].ids, Clip().Tokenize("").ids);
    EXPECT_EQ(prompt.token_count, 0);
  }
}

TEST(PromptChunksTest, PlainReadsBracketsAsText) {
  const ChunkedPrompt prompt = ChunkPrompt("(cat:1.3) BREAK", PromptSyntax::kPlain, Clip());
  EXPECT_EQ(prompt.chunks[0].ids, Clip().Tokenize("(cat:1.3) BREAK").ids);
  EXPECT_THAT(prompt.chunks[0].weights, Each(1.0f));
}

TEST(PromptChunksTest, PlainTellsWhatItCutsOff) {
  const ChunkedPrompt prompt = ChunkPrompt(Words(90), PromptSyntax::kPlain, Clip());
  ASSERT_EQ(prompt.chunks.size(), 1u);
  EXPECT_EQ(prompt.token_count, 90);
  EXPECT_EQ(prompt.used_token_count, 75);
  EXPECT_EQ(prompt.chunks[0].ids.size(), 77u);
}

TEST(PromptChunksTest, WeightsGoToTheTokensOfTheirPart) {
  const ChunkedPrompt prompt = ChunkPrompt("a (red:1.5) cat", PromptSyntax::kWeighted, Clip());
  EXPECT_THAT(First(prompt.chunks[0].weights, 6), ElementsAre(1.0f, 1.0f, 1.5f, 1.0f, 1.0f, 1.0f));
  EXPECT_EQ(prompt.chunks[0].ids, Clip().Tokenize("a red cat").ids);
}

TEST(PromptChunksTest, LongPromptsGoOnInTheNextChunk) {
  for (const auto& [count, chunks] :
       {std::pair(75, 1u), std::pair(76, 2u), std::pair(150, 2u), std::pair(151, 3u)}) {
    const ChunkedPrompt prompt = ChunkPrompt(Words(count), PromptSyntax::kWeighted, Clip());
    EXPECT_EQ(prompt.chunks.size(), chunks) << count;
    EXPECT_EQ(prompt.token_count, count);
    EXPECT_EQ(prompt.used_token_count, count);
    for (const TokenChunk& chunk : prompt.chunks) {
      EXPECT_EQ(chunk.ids.size(), 77u);
      EXPECT_EQ(chunk.ids.front(), kStart);
      EXPECT_EQ(chunk.ids.back(), kEnd);
    }
  }
}

TEST(PromptChunksTest, BreakStartsAChunkButMakesNoEmptyOne) {
  const auto chunks = [](const char* prompt) {
    return ChunkPrompt(prompt, PromptSyntax::kWeighted, Clip()).chunks;
  };
  const auto two = chunks("a cat BREAK a dog");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].ids, Clip().Tokenize("a cat").ids);
  EXPECT_EQ(two[1].ids, Clip().Tokenize("a dog").ids);
  EXPECT_EQ(chunks("BREAK a BREAK BREAK b BREAK").size(), 2u);
  EXPECT_EQ(chunks("BREAK").size(), 1u);
}

TEST(PromptChunksTest, TellsWhatIsBeyondTheLastChunk) {
  const ChunkedPrompt prompt = ChunkPrompt(Words(1300), PromptSyntax::kWeighted, Clip());
  EXPECT_EQ(prompt.chunks.size(), kMaxPromptChunks);
  EXPECT_EQ(prompt.token_count, 1300);
  EXPECT_EQ(prompt.used_token_count, 1200);
}

}  // namespace
}  // namespace tightfit
