#include "server/pipeline/prompt_chunks.h"

#include "server/pipeline/prompt_syntax.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr int64_t kStart = 49406;
constexpr int64_t kEnd = 49407;
constexpr int64_t kComma = 267;

const ClipTokenizer* Load(const char* directory) {
  auto loaded = ClipTokenizer::Load(directory);
  EXPECT_TRUE(loaded.ok()) << loaded.status().ForLog();
  return std::move(loaded).value().release();
}

const ClipTokenizer& Clip() {
  static const ClipTokenizer* const tokenizer = Load(TIGHTFIT_CLIP_VOCABULARY_DIR "/tokenizer");
  return *tokenizer;
}

const ClipTokenizer& SecondClip() {
  static const ClipTokenizer* const tokenizer = Load(TIGHTFIT_CLIP_VOCABULARY_DIR "/tokenizer_2");
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
    const ChunkedPrompt prompt = ChunkPrompt("a photo of a cat", {.syntax = syntax}, Clip());
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
    const ChunkedPrompt prompt = ChunkPrompt("", {.syntax = syntax}, Clip());
    ASSERT_EQ(prompt.chunks.size(), 1u);
    EXPECT_EQ(prompt.chunks[0].ids, Clip().Tokenize("").ids);
    EXPECT_EQ(prompt.token_count, 0);
  }
}

TEST(PromptChunksTest, PlainReadsBracketsAsText) {
  const ChunkedPrompt prompt =
      ChunkPrompt("(cat:1.3) BREAK", {.syntax = PromptSyntax::kPlain}, Clip());
  EXPECT_EQ(prompt.chunks[0].ids, Clip().Tokenize("(cat:1.3) BREAK").ids);
  EXPECT_THAT(prompt.chunks[0].weights, Each(1.0f));
}

TEST(PromptChunksTest, PlainTellsWhatItCutsOff) {
  const ChunkedPrompt prompt = ChunkPrompt(Words(90), {.syntax = PromptSyntax::kPlain}, Clip());
  ASSERT_EQ(prompt.chunks.size(), 1u);
  EXPECT_EQ(prompt.token_count, 90);
  EXPECT_EQ(prompt.used_token_count, 75);
  EXPECT_EQ(prompt.chunks[0].ids.size(), 77u);
}

TEST(PromptChunksTest, WeightsGoToTheTokensOfTheirPart) {
  const ChunkedPrompt prompt = ChunkPrompt("a (red:1.5) cat", {}, Clip());
  EXPECT_THAT(First(prompt.chunks[0].weights, 6), ElementsAre(1.0f, 1.0f, 1.5f, 1.0f, 1.0f, 1.0f));
  EXPECT_EQ(prompt.chunks[0].ids, Clip().Tokenize("a red cat").ids);
}

TEST(PromptChunksTest, LongPromptsGoOnInTheNextChunk) {
  for (const auto& [count, chunks] :
       {std::pair(75, 1u), std::pair(76, 2u), std::pair(150, 2u), std::pair(151, 3u)}) {
    const ChunkedPrompt prompt = ChunkPrompt(Words(count), {}, Clip());
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
  const auto chunks = [](const char* prompt) { return ChunkPrompt(prompt, {}, Clip()).chunks; };
  const auto two = chunks("a cat BREAK a dog");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].ids, Clip().Tokenize("a cat").ids);
  EXPECT_EQ(two[1].ids, Clip().Tokenize("a dog").ids);
  EXPECT_EQ(chunks("BREAK a BREAK BREAK b BREAK").size(), 2u);
  EXPECT_EQ(chunks("BREAK").size(), 1u);
}

// What A1111 documents of its option, without its loop: where the chunks of `tokens` end, for
// tokens without a BREAK among them.
std::vector<size_t> ExpectedChunkEnds(const std::vector<int64_t>& tokens, size_t backtrack) {
  std::vector<size_t> ends;
  size_t begin = 0;
  while (tokens.size() - begin > 75) {
    size_t length = 75;
    if (tokens[begin + 75] != kComma) {
      for (size_t back = 1; back <= backtrack; ++back) {
        if (tokens[begin + 75 - back] != kComma) continue;
        length = 75 - back + 1;
        break;
      }
    }
    begin += length;
    ends.push_back(begin);
  }
  if (tokens.size() > begin || ends.empty()) ends.push_back(tokens.size());
  return ends;
}

TEST(PromptChunksTest, AreCutBehindTheLastCommaAsA1111Does) {
  // Commas in every company: their token is the same only at the end of a word.
  const std::vector<std::string> pieces = {
      "cat",       "orange hair",  ", ",   ",",
      ", ",        ",,",           " , ",  "a, b",
      "1,000",     "!,",           "\n,",  "photograph",
      "(dog:1.3)", "[x, y]",       "-",    "supercalifragilistic",
      ",\n",       "\xE7\x8C\xAB", "(a, ", "b:0.8)",
      ". ",        " BREAK "};
  std::mt19937 random(20);
  const auto below = [&random](size_t count) { return random() % count; };
  int cut_at_commas = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string prompt;
    for (size_t i = below(160); i > 0; --i) prompt += pieces[below(pieces.size())] + " ";
    const size_t backtrack = round % 3 == 0 ? 20 : below(75);
    const ClipTokenizer& tokenizer = round % 2 == 0 ? Clip() : SecondClip();
    std::vector<std::vector<int64_t>> sections(1);
    for (const PromptPart& part : ParseWeightedPrompt(prompt)) {
      if (part.starts_chunk && !sections.back().empty()) sections.emplace_back();
      for (const int64_t token : tokenizer.Tokens(part.text)) sections.back().push_back(token);
    }
    if (sections.size() > 1 && sections.back().empty()) sections.pop_back();
    std::vector<std::vector<int64_t>> expected;
    for (const std::vector<int64_t>& section : sections) {
      size_t begin = 0;
      for (const size_t end : ExpectedChunkEnds(section, backtrack)) {
        const auto at = [&](size_t i) { return section.begin() + static_cast<std::ptrdiff_t>(i); };
        expected.push_back(tokenizer.Framed(std::vector<int64_t>(at(begin), at(end))));
        cut_at_commas += end < section.size() && end - begin < 75;
        begin = end;
      }
    }
    if (expected.size() >= kMaxPromptChunks) continue;
    const ChunkedPrompt chunked =
        ChunkPrompt(prompt, {.comma_backtrack_tokens = static_cast<int32_t>(backtrack)}, tokenizer);
    ASSERT_EQ(chunked.chunks.size(), expected.size()) << prompt;
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(chunked.chunks[i].ids, expected[i]) << prompt << " chunk " << i;
    }
    ASSERT_EQ(chunked.used_token_count, chunked.token_count);
  }
  EXPECT_GT(cut_at_commas, 500);
}

TEST(PromptChunksTest, MovedTokensKeepTheirWeights) {
  std::string prompt;
  for (int i = 0; i < 37; ++i) prompt += "red, ";
  const ChunkedPrompt chunked =
      ChunkPrompt(prompt + "(orange hair:1.3)", {.comma_backtrack_tokens = 20}, Clip());
  ASSERT_EQ(chunked.chunks.size(), 2u);
  EXPECT_EQ(chunked.chunks[1].ids, Clip().Tokenize("orange hair").ids);
  EXPECT_THAT(First(chunked.chunks[1].weights, 4), ElementsAre(1.0f, 1.3f, 1.3f, 1.0f));
  EXPECT_THAT(chunked.chunks[0].weights, Each(1.0f));
}

TEST(PromptChunksTest, TheLastChunkIsFilledWhateverItsCommas) {
  std::string prompt;
  for (int i = 0; i < 1300; ++i) prompt += i % 60 == 59 ? "cat, " : "cat ";
  const ChunkedPrompt chunked = ChunkPrompt(prompt, {.comma_backtrack_tokens = 74}, Clip());
  EXPECT_EQ(chunked.chunks.size(), kMaxPromptChunks);
  EXPECT_EQ(chunked.used_token_count, 15 * 61 + 75);
  EXPECT_EQ(chunked.chunks.back().ids[75], Clip().Tokens("cat").front());
}

TEST(PromptChunksTest, TellsWhatIsBeyondTheLastChunk) {
  const ChunkedPrompt prompt = ChunkPrompt(Words(1300), {}, Clip());
  EXPECT_EQ(prompt.chunks.size(), kMaxPromptChunks);
  EXPECT_EQ(prompt.token_count, 1300);
  EXPECT_EQ(prompt.used_token_count, 1200);
}

}  // namespace
}  // namespace tightfit
