#include "server/pipeline/conditioning.h"

#include <algorithm>
#include <string>

namespace tightfit {
namespace {

Result<TextEmbedding> NegativeEmbedding(const TextEncoder& encoder,
                                        const GenerationParameters& parameters, bool force_zeros,
                                        const TextEmbedding& positive) {
  // The first negative prompt alone decides, also where a second one is given.
  if (!parameters.negative_prompt.has_value() && force_zeros) {
    return TextEmbedding{.hidden_states = at::zeros_like(positive.hidden_states),
                         .pooled = at::zeros_like(positive.pooled)};
  }
  const std::string negative = parameters.negative_prompt.value_or("");
  return encoder.Encode(negative, parameters.negative_prompt_2.value_or(negative));
}

}  // namespace

std::array<float, 6> TimeIds(const GenerationParameters& parameters) {
  const GenerationParameters::SizePx picture{.height_px = parameters.height_px,
                                             .width_px = parameters.width_px};
  const auto original = parameters.original_size.value_or(picture);
  const auto crop = parameters.crop_top_left.value_or(GenerationParameters::SizePx{});
  const auto target = parameters.target_size.value_or(picture);
  const std::array<int32_t, 6> ids = {original.height_px, original.width_px, crop.height_px,
                                      crop.width_px,      target.height_px,  target.width_px};
  std::array<float, 6> floats{};
  std::copy(ids.begin(), ids.end(), floats.begin());
  return floats;
}

Result<Conditioning> MakeConditioning(const TextEncoder& encoder,
                                      const GenerationParameters& parameters,
                                      bool force_zeros_for_empty_prompt, at::ScalarType dtype) {
  TF_ASSIGN_OR_RETURN(
      TextEmbedding positive,
      encoder.Encode(parameters.prompt, parameters.prompt_2.value_or(parameters.prompt)));
  const int64_t images = parameters.image_count;
  const std::array<float, 6> time_ids = TimeIds(parameters);
  const at::Tensor time_ids_row = at::tensor(at::ArrayRef<float>(time_ids)).unsqueeze(0);
  Conditioning conditioning;
  conditioning.hidden_states = positive.hidden_states.repeat({images, 1, 1});
  conditioning.pooled = positive.pooled.repeat({images, 1});
  int64_t rows = images;
  if (UsesGuidance(parameters)) {
    TF_ASSIGN_OR_RETURN(
        const TextEmbedding negative,
        NegativeEmbedding(encoder, parameters, force_zeros_for_empty_prompt, positive));
    conditioning.hidden_states =
        at::cat({negative.hidden_states.repeat({images, 1, 1}), conditioning.hidden_states});
    conditioning.pooled = at::cat({negative.pooled.repeat({images, 1}), conditioning.pooled});
    rows *= 2;
  }
  conditioning.hidden_states = conditioning.hidden_states.to(dtype);
  conditioning.pooled = conditioning.pooled.to(dtype);
  conditioning.time_ids = time_ids_row.repeat({rows, 1}).to(positive.pooled.device());
  return conditioning;
}

}  // namespace tightfit
