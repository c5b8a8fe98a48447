// Conditioner: what the denoiser is told beside latents and timestep; made once per request.
#ifndef TIGHTFIT_SERVER_PIPELINE_CONDITIONER_H_
#define TIGHTFIT_SERVER_PIPELINE_CONDITIONER_H_

#include "server/base/status.h"
#include "server/engine/generation.h"
#include "server/pipeline/text_encoder.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tightfit {

// Names of the denoiser's inputs, as model.json has them.
inline constexpr char kTextInput[] = "encoder_hidden_states";
inline constexpr char kPooledInput[] = "text_embeds";
inline constexpr char kTimeIdsInput[] = "time_ids";
inline constexpr char kGuidanceInput[] = "guidance_embedding";
// Of an inpainting denoiser: 1 where something is drawn, and the image's latents without that.
inline constexpr char kMaskInput[] = "mask";
inline constexpr char kMaskedImageInput[] = "masked_image_latents";

// A batch for the denoiser: image_count rows, or with guidance 2 * image_count, the negative half
// first.
struct Conditioning {
  // By the name of the denoiser's input: kTextInput [B, T, E], kPooledInput [B, P], kTimeIdsInput
  // fp32 [B, 6], kGuidanceInput [B, G], kMaskInput [B, 1, h, w], kMaskedImageInput [B, C, h, w].
  std::map<std::string, at::Tensor, std::less<>> inputs;
  std::vector<PromptTokens> prompt_tokens;  // of the prompts that the request gave

  const at::Tensor& text() const { return inputs.find(kTextInput)->second; }
};

// What a model's denoiser takes, as its directory describes it.
struct ConditioningLayout {
  bool takes_pooled = true;
  std::vector<std::string> time_ids;  // by name; empty: it takes none
  // An absent negative prompt becomes zeros; else it is encoded as "".
  bool force_zeros_for_empty_prompt = true;
  int32_t guidance_embedding_size = 0;  // an even number; 0: it takes no guidance scale
};

// The guidance scale as diffusers embeds it for distilled denoisers: fp32 [1, size], sines and
// cosines of (scale - 1) * 1000 at falling frequencies.
at::Tensor GuidanceEmbedding(float guidance_scale, int32_t size);

// The names that a layout's time_ids may have.
bool IsTimeId(std::string_view name);

// The numbers of those names that a request has: of sizes and crops height before width, and of the
// image itself where the request says nothing.
std::vector<float> TimeIds(const std::vector<std::string>& names,
                           const GenerationParameters& parameters);

class Conditioner {
 public:
  // `names` of `layout` are those of IsTimeId.
  Conditioner(TextEncoder encoder, ConditioningLayout layout)
      : encoder_(std::move(encoder)), layout_(std::move(layout)) {}

  // How many chunks the longest of the prompts has that Make encodes. `chunker`: the encoder's.
  static int32_t ChunkCount(const PromptChunker& chunker, const GenerationParameters& parameters,
                            bool force_zeros_for_empty_prompt);

  // Encodes what the request needs and no more. Prompts of fewer chunks than the longest are filled
  // up with empty ones. Embeddings come in `dtype`. Errors: the encoder's.
  Result<Conditioning> Make(const GenerationParameters& parameters, at::ScalarType dtype) const;

 private:
  const TextEncoder encoder_;
  const ConditioningLayout layout_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_CONDITIONER_H_
