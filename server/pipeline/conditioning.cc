#include "server/pipeline/conditioning.h"

#include <algorithm>
#include <string>

namespace tightfit {
namespace {

// The prompts of one request, cut into chunks.
struct RequestPrompts {
  PromptChunks positive;
  PromptChunks negative;
  bool encodes_negative = false;
  size_t chunk_count = 1;  // of each that is encoded
};

RequestPrompts ChunkPrompts(const PromptChunker& chunker, const GenerationParameters& parameters,
                            bool force_zeros) {
  const PromptReading reading{.syntax = parameters.prompt_syntax,
                              .comma_backtrack_tokens = parameters.comma_backtrack_tokens};
  const std::string negative = parameters.negative_prompt.value_or("");
  RequestPrompts prompts{
      .positive = {.first = chunker.first(parameters.prompt, reading),
                   .second =
                       chunker.second(parameters.prompt_2.value_or(parameters.prompt), reading)},
      .negative = {
          .first = chunker.first(negative, reading),
          .second = chunker.second(parameters.negative_prompt_2.value_or(negative), reading)}};
  // The first negative prompt alone decides, also where a second one is given.
  prompts.encodes_negative =
      UsesGuidance(parameters) && (parameters.negative_prompt.has_value() || !force_zeros);
  prompts.chunk_count = prompts.positive.chunk_count();
  if (prompts.encodes_negative) {
    prompts.chunk_count = std::max(prompts.chunk_count, prompts.negative.chunk_count());
  }
  return prompts;
}

std::vector<PromptTokens> TokensOf(const RequestPrompts& prompts,
                                   const GenerationParameters& parameters) {
  std::vector<PromptTokens> tokens;
  const auto add = [&tokens](const char* field, const ChunkedPrompt& prompt, bool is_used) {
    tokens.push_back({.field = field,
                      .token_count = prompt.token_count,
                      .used_token_count = is_used ? prompt.used_token_count : 0,
                      .chunk_count = is_used ? static_cast<int32_t>(prompt.chunks.size()) : 0});
  };
  add("prompt", prompts.positive.first, true);
  if (parameters.prompt_2.has_value()) add("prompt_2", prompts.positive.second, true);
  if (parameters.negative_prompt.has_value()) {
    add("negative_prompt", prompts.negative.first, prompts.encodes_negative);
  }
  if (parameters.negative_prompt_2.has_value()) {
    add("negative_prompt_2", prompts.negative.second, prompts.encodes_negative);
  }
  return tokens;
}

}  // namespace

std::array<float, 6> TimeIds(const GenerationParameters& parameters) {
  const GenerationParameters::SizePx image{.height_px = parameters.height_px,
                                           .width_px = parameters.width_px};
  const auto original = parameters.original_size.value_or(image);
  const auto crop = parameters.crop_top_left.value_or(GenerationParameters::SizePx{});
  const auto target = parameters.target_size.value_or(image);
  const std::array<int32_t, 6> ids = {original.height_px, original.width_px, crop.height_px,
                                      crop.width_px,      target.height_px,  target.width_px};
  std::array<float, 6> floats{};
  std::copy(ids.begin(), ids.end(), floats.begin());
  return floats;
}

int32_t ChunkCount(const PromptChunker& chunker, const GenerationParameters& parameters,
                   bool force_zeros_for_empty_prompt) {
  return static_cast<int32_t>(
      ChunkPrompts(chunker, parameters, force_zeros_for_empty_prompt).chunk_count);
}

Result<Conditioning> MakeConditioning(const TextEncoder& encoder,
                                      const GenerationParameters& parameters,
                                      bool force_zeros_for_empty_prompt, at::ScalarType dtype) {
  const RequestPrompts prompts =
      ChunkPrompts(encoder.chunker(), parameters, force_zeros_for_empty_prompt);
  TF_ASSIGN_OR_RETURN(const TextEmbedding positive,
                      encoder.Encode(prompts.positive, prompts.chunk_count, parameters.clip_skip));
  const int64_t images = parameters.image_count;
  const std::array<float, 6> time_ids = TimeIds(parameters);
  const at::Tensor time_ids_row = at::tensor(at::ArrayRef<float>(time_ids)).unsqueeze(0);
  Conditioning conditioning;
  conditioning.hidden_states = positive.hidden_states.repeat({images, 1, 1});
  conditioning.pooled = positive.pooled.repeat({images, 1});
  int64_t rows = images;
  if (UsesGuidance(parameters)) {
    TextEmbedding negative{.hidden_states = at::zeros_like(positive.hidden_states),
                           .pooled = at::zeros_like(positive.pooled)};
    if (prompts.encodes_negative) {
      // diffusers leaves no layers out here.
      TF_ASSIGN_OR_RETURN(negative,
                          encoder.Encode(prompts.negative, prompts.chunk_count, /*clip_skip=*/0));
    }
    conditioning.hidden_states =
        at::cat({negative.hidden_states.repeat({images, 1, 1}), conditioning.hidden_states});
    conditioning.pooled = at::cat({negative.pooled.repeat({images, 1}), conditioning.pooled});
    rows *= 2;
  }
  conditioning.hidden_states = conditioning.hidden_states.to(dtype);
  conditioning.pooled = conditioning.pooled.to(dtype);
  conditioning.time_ids = time_ids_row.repeat({rows, 1}).to(positive.pooled.device());
  conditioning.prompt_tokens = TokensOf(prompts, parameters);
  return conditioning;
}

}  // namespace tightfit
