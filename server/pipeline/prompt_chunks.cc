#include "server/pipeline/prompt_chunks.h"

#include "server/pipeline/prompt_syntax.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>

namespace tightfit {
namespace {

constexpr size_t kMaxChunkTokens = ClipTokenizer::kMaxLength - 2;

// Takes tokens until the last chunk is full.
class Chunks {
 public:
  Chunks(const ClipTokenizer& tokenizer, int32_t comma_backtrack_tokens)
      : tokenizer_(tokenizer),
        comma_id_(tokenizer.comma_id()),
        comma_backtrack_tokens_(static_cast<size_t>(comma_backtrack_tokens)) {}

  void Add(int64_t token, float weight) {
    ++prompt_.token_count;
    const bool is_comma = comma_id_ == token;
    if (tokens_.size() == kMaxChunkTokens) is_comma ? Close() : CloseAtComma();
    if (prompt_.chunks.size() == kMaxPromptChunks) return;
    ++prompt_.used_token_count;
    tokens_.push_back(token);
    weights_.push_back(weight);
    if (is_comma) after_comma_ = tokens_.size();
  }

  void Break() {
    if (!tokens_.empty()) Close();
  }

  ChunkedPrompt Take() && {
    if (!tokens_.empty() || prompt_.chunks.empty()) Close();
    return std::move(prompt_);
  }

 private:
  // Closes the full chunk behind its last comma where that is near enough, else at its end.
  void CloseAtComma() {
    const bool is_last = prompt_.chunks.size() + 1 == kMaxPromptChunks;
    if (after_comma_ == 0 || is_last ||
        kMaxChunkTokens - after_comma_ + 1 > comma_backtrack_tokens_) {
      return Close();
    }
    const auto cut = static_cast<std::ptrdiff_t>(after_comma_);
    const std::vector<int64_t> moved_tokens(tokens_.begin() + cut, tokens_.end());
    const std::vector<float> moved_weights(weights_.begin() + cut, weights_.end());
    tokens_.resize(after_comma_);
    weights_.resize(after_comma_);
    Close();
    tokens_ = moved_tokens;
    weights_ = moved_weights;
  }

  void Close() {
    TokenChunk chunk{.ids = tokenizer_.Framed(tokens_), .weights = {}};
    chunk.weights.assign(chunk.ids.size(), 1.0f);
    std::copy(weights_.begin(), weights_.end(), chunk.weights.begin() + 1);
    prompt_.chunks.push_back(std::move(chunk));
    tokens_.clear();
    weights_.clear();
    after_comma_ = 0;
  }

  const ClipTokenizer& tokenizer_;
  const std::optional<int64_t> comma_id_;
  const size_t comma_backtrack_tokens_;
  ChunkedPrompt prompt_;
  std::vector<int64_t> tokens_;
  std::vector<float> weights_;
  size_t after_comma_ = 0;  // tokens up to the last comma; 0: none
};

ChunkedPrompt PlainChunk(std::string_view prompt, const ClipTokenizer& tokenizer) {
  const std::vector<int64_t> tokens = tokenizer.Tokens(prompt);
  const auto used = std::span(tokens).first(std::min(tokens.size(), kMaxChunkTokens));
  TokenChunk chunk{.ids = tokenizer.Framed(used), .weights = {}};
  chunk.weights.assign(chunk.ids.size(), 1.0f);
  return {.chunks = {std::move(chunk)},
          .token_count = static_cast<int32_t>(tokens.size()),
          .used_token_count = static_cast<int32_t>(used.size())};
}

}  // namespace

ChunkedPrompt ChunkPrompt(std::string_view prompt, const PromptReading& reading,
                          const ClipTokenizer& tokenizer) {
  if (reading.syntax == PromptSyntax::kPlain) return PlainChunk(prompt, tokenizer);
  Chunks chunks(tokenizer, reading.comma_backtrack_tokens);
  for (const PromptPart& part : ParseWeightedPrompt(prompt)) {
    if (part.starts_chunk) chunks.Break();
    for (const int64_t token : tokenizer.Tokens(part.text)) {
      chunks.Add(token, static_cast<float>(part.weight));
    }
  }
  return std::move(chunks).Take();
}

}  // namespace tightfit
