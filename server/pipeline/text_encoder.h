// TextEncoder: prompts to embeddings, by SDXL's two CLIP encoders.
#ifndef TIGHTFIT_SERVER_PIPELINE_TEXT_ENCODER_H_
#define TIGHTFIT_SERVER_PIPELINE_TEXT_ENCODER_H_

#include "server/base/status.h"
#include "server/pipeline/network.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace tightfit {

struct TextEmbedding {
  at::Tensor hidden_states;  // [1, T, E]: both encoders' penultimate hidden states, side by side
  at::Tensor pooled;         // [1, P]: encoder 2's projected pooled embedding
};

class TextEncoder {
 public:
  // Token ids of a prompt, start and end and padding included; ClipTokenizer::Tokenize.
  using Tokenize = std::function<std::vector<int64_t>(std::string_view prompt)>;

  struct Half {
    Tokenize tokenize;
    Network network;
  };
  TextEncoder(Half first, Half second);

  // `prompt` goes to the first encoder, `prompt_2` to the second. Errors: the networks'.
  Result<TextEmbedding> Encode(std::string_view prompt, std::string_view prompt_2) const;

 private:
  const Half first_;
  const Half second_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_TEXT_ENCODER_H_
