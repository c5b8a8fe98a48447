#include "server/pipeline/text_encoder.h"

#include <string>
#include <utility>

namespace tightfit {
namespace {

Result<std::vector<at::Tensor>> RunHalf(const TextEncoder::Half& half, std::string_view prompt) {
  const std::vector<int64_t> ids = half.tokenize(prompt);
  at::Tensor input = at::empty({1, static_cast<int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), input.data_ptr<int64_t>());
  TF_ASSIGN_OR_RETURN(std::vector<at::Tensor> outputs,
                      half.network.run({input.to(half.network.device)}));
  if (outputs.size() != 2) {
    return Internal("a text encoder's graph gave " + std::to_string(outputs.size()) +
                    " tensors instead of 2");
  }
  return outputs;
}

}  // namespace

TextEncoder::TextEncoder(Half first, Half second)
    : first_(std::move(first)), second_(std::move(second)) {}

Result<TextEmbedding> TextEncoder::Encode(std::string_view prompt,
                                          std::string_view prompt_2) const {
  TF_ASSIGN_OR_RETURN(const std::vector<at::Tensor> first, RunHalf(first_, prompt));
  TF_ASSIGN_OR_RETURN(const std::vector<at::Tensor> second, RunHalf(second_, prompt_2));
  return TextEmbedding{.hidden_states = at::cat({first[0], second[0]}, -1), .pooled = second[1]};
}

}  // namespace tightfit
