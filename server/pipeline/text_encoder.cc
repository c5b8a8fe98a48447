#include "server/pipeline/text_encoder.h"

#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

struct EncodedHalf {
  at::Tensor hidden_states;  // [1, chunks * T, E]
  at::Tensor pooled;         // [1, P]
};

bool IsWeighted(const TokenChunk& chunk) {
  return std::any_of(chunk.weights.begin(), chunk.weights.end(),
                     [](float weight) { return weight != 1.0f; });
}

Result<EncodedHalf> RunHalf(const TextEncoder::Encoder& half, const ChunkedPrompt& prompt,
                            size_t chunk_count, int32_t clip_skip) {
  std::vector<TokenChunk> chunks = prompt.chunks;
  const TokenChunk empty = half.chunk("", {.syntax = PromptSyntax::kPlain}).chunks.front();
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
                      half.network.run({ids.to(half.network.device)}));
  if (outputs.size() != 2) {
    return Internal("a text encoder's graph gave " + std::to_string(outputs.size()) +
                    " tensors instead of 2");
  }
  if (outputs[0].dim() != 4 || outputs[0].size(0) <= clip_skip || outputs[0].size(1) != rows) {
    return Internal("a text encoder's graph gave no hidden states for this clip_skip");
  }
  at::Tensor hidden = outputs[0].select(0, clip_skip);
  hidden = hidden.reshape({1, rows * length, hidden.size(-1)});
  if (std::any_of(chunks.begin(), chunks.end(), IsWeighted)) {
    hidden = (hidden.to(at::kFloat) * weights.to(hidden.device())).to(hidden.scalar_type());
  }
  return EncodedHalf{.hidden_states = hidden, .pooled = outputs[1].narrow(0, 0, 1)};
}

}  // namespace

TextEncoder::TextEncoder(Encoder first, Encoder second)
    : first_(std::move(first)), second_(std::move(second)) {}

Result<TextEmbedding> TextEncoder::Encode(const PromptChunks& prompt, size_t chunk_count,
                                          int32_t clip_skip) const {
  TF_ASSIGN_OR_RETURN(const EncodedHalf first,
                      RunHalf(first_, prompt.first, chunk_count, clip_skip));
  TF_ASSIGN_OR_RETURN(const EncodedHalf second,
                      RunHalf(second_, prompt.second, chunk_count, clip_skip));
  return TextEmbedding{.hidden_states = at::cat({first.hidden_states, second.hidden_states}, -1),
                       .pooled = second.pooled};
}

}  // namespace tightfit
