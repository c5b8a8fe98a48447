// EstimateRequest: the bytes that a request needs beside the weights, from its size alone.
#ifndef TIGHTFIT_SERVER_ENGINE_MEMORY_ESTIMATE_H_
#define TIGHTFIT_SERVER_ENGINE_MEMORY_ESTIMATE_H_

#include "server/engine/diffusion_model.h"
#include "server/engine/generation.h"

#include <cstdint>

namespace tightfit {

struct RequestMemory {
  int64_t denoise_bytes = 0;  // while the UNet runs
  int64_t decode_bytes = 0;   // while the VAE runs
  bool is_measured = false;   // false before the model's first load: then both are 0

  // What is set aside for the request: the two never run at once.
  int64_t peak_bytes() const { return denoise_bytes > decode_bytes ? denoise_bytes : decode_bytes; }
};

// The VAE that a request is decoded with.
enum class VaeUse { kOwn, kFp32Fallback };

// A function of size, count, guidance and the model's tiling; never of what is free now. In fp32
// the VAE is taken to need twice what was measured in 16 bits.
RequestMemory EstimateRequest(const ModelDescription& model, const GenerationParameters& parameters,
                              VaeUse vae = VaeUse::kOwn);

// Keys and values of prompts that a request keeps are at most this many bytes: beyond it they are
// computed in every step.
inline constexpr int64_t kMostKeptTextBytes = int64_t{256} << 20;

// Whether the request computes keys and values of its prompts once. While costs are measured only
// those of streamed weights are kept.
bool KeepsTextProducts(const ModelDescription& model, const GenerationParameters& parameters);

// How far the levels of a network that halves latents of this height and width `halvings` times,
// rounding up, are larger than a quarter of the one before: 0 where no halving rounds, 1 / n of a
// strip n high whose n leaves 1 when it is divided by 2^halvings. Latents as uneven as that strip
// have levels at most as large as its, for the same number of latents.
double UnevennessOf(int32_t height, int32_t width, int32_t halvings);

// Weights that the request needs and that its model does not hold, though it may be loaded.
int64_t MissingWeightBytes(const ModelDescription& model, const GenerationParameters& parameters);

// What is set aside for a request beside all weights; 0 without a description. Errors:
// INTERNAL, RESOURCE_EXHAUSTED if its prompts cannot even be counted.
Result<int64_t> RequestBytes(const ModelDescription* model, const GenerationParameters& parameters,
                             VaeUse vae = VaeUse::kOwn);

// The same with what MissingWeightBytes tells: what there must be before it may begin.
Result<int64_t> AdmissionBytes(const ModelDescription* model,
                               const GenerationParameters& parameters);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_MEMORY_ESTIMATE_H_
