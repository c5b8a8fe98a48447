// Conditioning: everything the UNet is told beside latents and timestep; made once per request.
#ifndef TIGHTFIT_SERVER_PIPELINE_CONDITIONING_H_
#define TIGHTFIT_SERVER_PIPELINE_CONDITIONING_H_

#include "server/base/status.h"
#include "server/engine/generation.h"
#include "server/pipeline/text_encoder.h"

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <vector>

namespace tightfit {

// A batch for the UNet: image_count rows, or with guidance 2 * image_count, the negative half
// first.
struct Conditioning {
  at::Tensor hidden_states;                 // [B, T, E]
  at::Tensor pooled;                        // [B, P]
  at::Tensor time_ids;                      // fp32 [B, 6]
  std::vector<PromptTokens> prompt_tokens;  // of the prompts that the request gave
};

// SDXL's micro-conditioning: original height and width, crop top and left, target height and width.
std::array<float, 6> TimeIds(const GenerationParameters& parameters);

// How many chunks the longest of the prompts has that MakeConditioning encodes.
int32_t ChunkCount(const PromptChunker& chunker, const GenerationParameters& parameters,
                   bool force_zeros_for_empty_prompt);

// Encodes what the request needs and no more. An absent negative prompt becomes zeros when
// `force_zeros_for_empty_prompt`, else it is encoded as "". Prompts of fewer chunks than the
// longest are filled up with empty ones. Embeddings come in `dtype`.
Result<Conditioning> MakeConditioning(const TextEncoder& encoder,
                                      const GenerationParameters& parameters,
                                      bool force_zeros_for_empty_prompt, at::ScalarType dtype);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_CONDITIONING_H_
