#include "server/pipeline/text_encoder.h"

#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

struct Encoded {
  at::Tensor hidden_states;  // [1, chunks * T, E]
  at::Tensor pooled;         // [1, P]; undefined without one
};

bool IsWeighted(const TokenChunk& chunk) {
  return std::any_of(chunk.weights.begin(), chunk.weights.end(),
                     [](float weight) { return weight != 1.0f; });
}

Result<Encoded> Run(const TextEncoder::Encoder& encoder, const ChunkedPrompt& prompt,
                    size_t chunk_count, int32_t clip_skip, bool takes_pooled) {
  std::vector<TokenChunk> chunks = prompt.chunks;
  const TokenChunk empty = encoder.chunk("", {.syntax = PromptSyntax::kPlain}).chunks.front();
  chunks.resize(chunk_count, empty);
  const auto rows = static_cast<int64_t>(chunk_count);
  const auto length = static_cast<int64_t>(empty.ids.size());
  at::Tensor ids = at::empty({rows, length}, at::kLong);
  at::Tensor weights = at::empty({1, rows * length, 1}, at::kFloat);
  for (size_t i = 0; i < chunk_count; ++i) {
    const size_t offset = i * empty.ids.size();
    std::copy(chunks[i].ids.begin(), chunks[i].ids.end(), ids.data_ptr<int64_t>() + offset);
    std::copy(chunks[i].weights.begin(), chunks[i].weights.end(),
              weights.data_ptr<float>() + offset);
  }
  TF_ASSIGN_OR_RETURN(const std::vector<at::Tensor> outputs,
                      encoder.network.run({ids.to(encoder.network.device)}));
  if (outputs.size() < (takes_pooled ? 2 : 1)) {
    return Internal("a text encoder's graph gave " + std::to_string(outputs.size()) +
                    " tensors, too few");
  }
  if (outputs[0].dim() != 4 || outputs[0].size(0) <= clip_skip || outputs[0].size(1) != rows) {
    return Internal("a text encoder's graph gave no hidden states for this clip_skip");
  }
  at::Tensor hidden = outputs[0].select(0, clip_skip);
  hidden = hidden.reshape({1, rows * length, hidden.size(-1)});
  if (std::any_of(chunks.begin(), chunks.end(), IsWeighted)) {
    hidden = (hidden.to(at::kFloat) * weights.to(hidden.device())).to(hidden.scalar_type());
  }
  return Encoded{.hidden_states = hidden,
                 .pooled = takes_pooled ? outputs[1].narrow(0, 0, 1) : at::Tensor()};
}

}  // namespace

PromptChunker TextEncoder::chunker() const {
  PromptChunker chunker;
  for (const Encoder& encoder : encoders_) chunker.push_back(encoder.chunk);
  return chunker;
}

Result<TextEmbedding> TextEncoder::Encode(const PromptChunks& prompt, size_t chunk_count,
                                          int32_t clip_skip) const {
  std::vector<at::Tensor> hidden_states;
  at::Tensor pooled;
  for (size_t i = 0; i < encoders_.size(); ++i) {
    const bool takes_pooled = gives_pooled_ && i + 1 == encoders_.size();
    TF_ASSIGN_OR_RETURN(const Encoded encoded,
                        Run(encoders_[i], prompt[i], chunk_count, clip_skip, takes_pooled));
    hidden_states.push_back(encoded.hidden_states);
    if (takes_pooled) pooled = encoded.pooled;
  }
  return TextEmbedding{.hidden_states = at::cat(hidden_states, -1), .pooled = pooled};
}

}  // namespace tightfit
