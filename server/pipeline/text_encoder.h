// TextEncoder: prompts to embeddings, by SDXL's two CLIP encoders.
#ifndef TIGHTFIT_SERVER_PIPELINE_TEXT_ENCODER_H_
#define TIGHTFIT_SERVER_PIPELINE_TEXT_ENCODER_H_

#include "server/base/status.h"
#include "server/pipeline/network.h"
#include "server/pipeline/prompt_chunks.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace tightfit {

struct TextEmbedding {
  at::Tensor hidden_states;  // [1, T, E]: both encoders' hidden states, side by side
  at::Tensor pooled;         // [1, P]: encoder 2's projected pooled embedding
};

// A prompt as both encoders take it.
struct PromptChunks {
  ChunkedPrompt first;
  ChunkedPrompt second;

  // What both have to be brought to.
  size_t chunk_count() const { return std::max(first.chunks.size(), second.chunks.size()); }
};

// Both encoders' tokenizers; thread-safe as they are.
struct PromptChunker {
  // ChunkPrompt with an encoder's tokenizer.
  using Chunk = std::function<ChunkedPrompt(std::string_view prompt, const PromptReading& reading)>;
  Chunk first;
  Chunk second;
};

class TextEncoder {
 public:
  struct Encoder {
    PromptChunker::Chunk chunk;
    Network network;
  };
  TextEncoder(Encoder first, Encoder second);

  PromptChunker chunker() const { return {first_.chunk, second_.chunk}; }

  // Encodes `chunk_count` chunks, those that are missing as empty prompts, and joins their hidden
  // states; T is 77 for each. Hidden states are multiplied by the weight of their token. The pooled
  // embedding is the first chunk's. `clip_skip` layers are left out before the last but one.
  // Errors: the networks'.
  Result<TextEmbedding> Encode(const PromptChunks& prompt, size_t chunk_count,
                               int32_t clip_skip) const;

 private:
  const Encoder first_;
  const Encoder second_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_TEXT_ENCODER_H_
