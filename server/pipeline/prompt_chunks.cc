#include "server/pipeline/prompt_chunks.h"

#include "server/pipeline/prompt_syntax.h"

#include <algorithm>
#include <span>

namespace tightfit {
namespace {

constexpr size_t kMaxChunkTokens = ClipTokenizer::kMaxLength - 2;

// Takes tokens until the last chunk is full.
class Chunks {
 public:
  explicit Chunks(const ClipTokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void Add(int64_t token, float weight) {
    ++prompt_.token_count;
    if (tokens_.size() == kMaxChunkTokens) Close();
    if (prompt_.chunks.size() == kMaxPromptChunks) return;
    ++prompt_.used_token_count;
    tokens_.push_back(token);
    weights_.push_back(weight);
  }

  void Break() {
    if (!tokens_.empty()) Close();
  }

  ChunkedPrompt Take() && {
    if (!tokens_.empty() || prompt_.chunks.empty()) Close();
    return std::move(prompt_);
  }

 private:
  void Close() {
    TokenChunk chunk{.ids = tokenizer_.Framed(tokens_), .weights = {}};
    chunk.weights.assign(chunk.ids.size(), 1.0f);
    std::copy(weights_.begin(), weights_.end(), chunk.weights.begin() + 1);
    prompt_.chunks.push_back(std::move(chunk));
    tokens_.clear();
    weights_.clear();
  }

  const ClipTokenizer& tokenizer_;
  ChunkedPrompt prompt_;
  std::vector<int64_t> tokens_;
  std::vector<float> weights_;
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

ChunkedPrompt ChunkPrompt(std::string_view prompt, PromptSyntax syntax,
                          const ClipTokenizer& tokenizer) {
  if (syntax == PromptSyntax::kPlain) return PlainChunk(prompt, tokenizer);
  Chunks chunks(tokenizer);
  for (const PromptPart& part : ParseWeightedPrompt(prompt)) {
    if (part.starts_chunk) chunks.Break();
    for (const int64_t token : tokenizer.Tokens(part.text)) {
      chunks.Add(token, static_cast<float>(part.weight));
    }
  }
  return std::move(chunks).Take();
}

}  // namespace tightfit
