#include "server/pipeline/conditioner.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
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

// The first encoder takes `prompt`, others `second` where there is one.
PromptChunks Chunked(const PromptChunker& chunker, const std::string& prompt,
                     const std::optional<std::string>& second, const PromptReading& reading) {
  PromptChunks chunks;
  for (const ChunkFunction& chunk : chunker) {
    chunks.push_back(chunk(chunks.empty() ? prompt : second.value_or(prompt), reading));
  }
  return chunks;
}

RequestPrompts ChunkPrompts(const PromptChunker& chunker, const GenerationParameters& parameters,
                            bool force_zeros) {
  const PromptReading reading{.syntax = parameters.prompt_syntax,
                              .comma_backtrack_tokens = parameters.comma_backtrack_tokens};
  const std::string negative = parameters.negative_prompt.value_or("");
  RequestPrompts prompts{
      .positive = Chunked(chunker, parameters.prompt, parameters.prompt_2, reading),
      .negative = Chunked(chunker, negative, parameters.negative_prompt_2, reading)};
  // The first negative prompt alone decides, also where a second one is given.
  prompts.encodes_negative =
      UsesGuidance(parameters) && (parameters.negative_prompt.has_value() || !force_zeros);
  prompts.chunk_count = ChunkCountOf(prompts.positive);
  if (prompts.encodes_negative) {
    prompts.chunk_count = std::max(prompts.chunk_count, ChunkCountOf(prompts.negative));
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
  add("prompt", prompts.positive.front(), true);
  if (parameters.prompt_2.has_value()) add("prompt_2", prompts.positive.back(), true);
  if (parameters.negative_prompt.has_value()) {
    add("negative_prompt", prompts.negative.front(), prompts.encodes_negative);
  }
  if (parameters.negative_prompt_2.has_value()) {
    add("negative_prompt_2", prompts.negative.back(), prompts.encodes_negative);
  }
  return tokens;
}

using SizePx = GenerationParameters::SizePx;

SizePx ImageSize(const GenerationParameters& parameters) {
  return {.height_px = parameters.height_px, .width_px = parameters.width_px};
}

struct TimeId {
  std::string_view name;
  int32_t (*value)(const GenerationParameters& parameters);
};

constexpr std::array<TimeId, 6> kTimeIds = {{
    {"original_height",
     [](const auto& of) { return of.original_size.value_or(ImageSize(of)).height_px; }},
    {"original_width",
     [](const auto& of) { return of.original_size.value_or(ImageSize(of)).width_px; }},
    {"crop_top", [](const auto& of) { return of.crop_top_left.value_or(SizePx{}).height_px; }},
    {"crop_left", [](const auto& of) { return of.crop_top_left.value_or(SizePx{}).width_px; }},
    {"target_height",
     [](const auto& of) { return of.target_size.value_or(ImageSize(of)).height_px; }},
    {"target_width",
     [](const auto& of) { return of.target_size.value_or(ImageSize(of)).width_px; }},
}};

}  // namespace

bool IsTimeId(std::string_view name) {
  return std::ranges::any_of(kTimeIds, [name](const TimeId& id) { return id.name == name; });
}

std::vector<float> TimeIds(const std::vector<std::string>& names,
                           const GenerationParameters& parameters) {
  std::vector<float> numbers;
  for (const std::string& name : names) {
    const auto* const found = std::ranges::find(kTimeIds, name, &TimeId::name);
    numbers.push_back(static_cast<float>(found->value(parameters)));
  }
  return numbers;
}

at::Tensor GuidanceEmbedding(float guidance_scale, int32_t size) {
  const int64_t half = size / 2;
  const double fall = std::log(10000.0) / static_cast<double>(half - 1);
  const at::Tensor angles =
      at::exp(at::arange(half, at::kFloat) * -fall) * ((guidance_scale - 1.0f) * 1000.0f);
  return at::cat({angles.sin(), angles.cos()}).unsqueeze(0);
}

int32_t Conditioner::ChunkCount(const PromptChunker& chunker,
                                const GenerationParameters& parameters,
                                bool force_zeros_for_empty_prompt) {
  return static_cast<int32_t>(
      ChunkPrompts(chunker, parameters, force_zeros_for_empty_prompt).chunk_count);
}

Result<Conditioning> Conditioner::Make(const GenerationParameters& parameters,
                                       at::ScalarType dtype) const {
  const RequestPrompts prompts =
      ChunkPrompts(encoder_.chunker(), parameters, layout_.force_zeros_for_empty_prompt);
  TF_ASSIGN_OR_RETURN(const TextEmbedding positive,
                      encoder_.Encode(prompts.positive, prompts.chunk_count, parameters.clip_skip));
  const bool guided = UsesGuidance(parameters);
  TextEmbedding negative;
  if (prompts.encodes_negative) {
    // diffusers leaves no layers out here.
    TF_ASSIGN_OR_RETURN(negative,
                        encoder_.Encode(prompts.negative, prompts.chunk_count, /*clip_skip=*/0));
  } else if (guided) {
    negative.hidden_states = at::zeros_like(positive.hidden_states);
    if (layout_.takes_pooled) negative.pooled = at::zeros_like(positive.pooled);
  }
  const int64_t images = parameters.image_count;
  // Of a row for each image, the negative half before it.
  const auto batch = [&](const at::Tensor& of_positive, const at::Tensor& of_negative) {
    std::vector<int64_t> repeats(of_positive.dim(), 1);
    repeats[0] = images;
    const at::Tensor rows = of_positive.repeat(repeats);
    return (guided ? at::cat({of_negative.repeat(repeats), rows}) : rows).to(dtype);
  };
  Conditioning conditioning;
  conditioning.inputs[kTextInput] = batch(positive.hidden_states, negative.hidden_states);
  if (layout_.takes_pooled) {
    conditioning.inputs[kPooledInput] = batch(positive.pooled, negative.pooled);
  }
  if (!layout_.time_ids.empty()) {
    const std::vector<float> time_ids = TimeIds(layout_.time_ids, parameters);
    const at::Tensor row = at::tensor(at::ArrayRef<float>(time_ids)).unsqueeze(0);
    conditioning.inputs[kTimeIdsInput] =
        row.repeat({images * (guided ? 2 : 1), 1}).to(positive.hidden_states.device());
  }
  if (layout_.guidance_embedding_size > 0) {
    conditioning.inputs[kGuidanceInput] =
        GuidanceEmbedding(parameters.guidance_scale, layout_.guidance_embedding_size)
            .repeat({images * (guided ? 2 : 1), 1})
            .to(positive.hidden_states.device(), dtype);
  }
  conditioning.prompt_tokens = TokensOf(prompts, parameters);
  return conditioning;
}

}  // namespace tightfit
