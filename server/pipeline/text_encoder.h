// TextEncoder: prompts to embeddings, by a model's CLIP encoders: one, or SDXL's two.
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
#include <utility>
#include <vector>

namespace tightfit {

struct TextEmbedding {
  at::Tensor hidden_states;  // [1, T, E]: all encoders' hidden states, side by side
  at::Tensor pooled;         // [1, P]: the last encoder's pooled embedding; undefined without one
};

// A prompt as each encoder takes it.
using PromptChunks = std::vector<ChunkedPrompt>;

// What all encoders have to be brought to.
inline size_t ChunkCountOf(const PromptChunks& prompt) {
  size_t count = 0;
  for (const ChunkedPrompt& chunked : prompt) count = std::max(count, chunked.chunks.size());
  return count;
}

// ChunkPrompt with the tokenizer of each encoder; thread-safe as they are.
using ChunkFunction =
    std::function<ChunkedPrompt(std::string_view prompt, const PromptReading& reading)>;
using PromptChunker = std::vector<ChunkFunction>;

class TextEncoder {
 public:
  struct Encoder {
    ChunkFunction chunk;
    Network network;
  };
  // At least one. With `gives_pooled` the last one's graph gives a pooled embedding beside its
  // hidden states.
  TextEncoder(std::vector<Encoder> encoders, bool gives_pooled)
      : encoders_(std::move(encoders)), gives_pooled_(gives_pooled) {}

  PromptChunker chunker() const;

  // Encodes `chunk_count` chunks, those that are missing as empty prompts, and joins their hidden
  // states; T is 77 for each. Hidden states are multiplied by the weight of their token. The pooled
  // embedding is the first chunk's. `clip_skip` layers are left out before the one that the graphs
  // give first. Errors: the networks'.
  Result<TextEmbedding> Encode(const PromptChunks& prompt, size_t chunk_count,
                               int32_t clip_skip) const;

 private:
  const std::vector<Encoder> encoders_;
  const bool gives_pooled_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_TEXT_ENCODER_H_
