// MeasureRequestCosts: what requests take, from a few small ones. Free of LibTorch.
//
// Whoever loads a model calls it, on the thread that calls the model; it never calls the model
// itself, but asks for trials.
#ifndef TIGHTFIT_SERVER_ENGINE_COST_TRIALS_H_
#define TIGHTFIT_SERVER_ENGINE_COST_TRIALS_H_

#include "server/base/status.h"
#include "server/engine/diffusion_model.h"

#include <cstdint>
#include <functional>

namespace tightfit {

// A request of one step.
struct CostTrial {
  int32_t height = 0;  // in latents
  int32_t width = 0;
  bool guided = true;  // two rows an image
  int32_t image_count = 1;
  int32_t chunk_count = 1;  // of its prompt
  // Without one the rows of the negative prompt are as long, but nothing is encoded for them.
  bool has_negative_prompt = true;
  bool decodes = false;
  // Instead of a request: an image of that size is encoded.
  bool encodes_image = false;
};

// Bytes of tensors at certain moments of a trial, over those before it.
struct TrialCosts {
  double encode_peak = 0.0;
  double state = 0.0;
  double denoise_peak = 0.0;
  double decode_peak = 0.0;  // over `state`
  double denoise_seconds = 0.0;
  double decode_seconds = 0.0;
  double encode_image_peak = 0.0;
  double encode_image_seconds = 0.0;
};

// What is known of the networks before anything is measured.
struct CostedNetworks {
  bool is_wide = false;  // many parameters, many channels: trials take long
  bool is_in_16_bits = false;
  bool has_image_encoder = false;  // always in fp32
  // As of ModelMemory and RequestCosts.
  int32_t unet_halvings = 0;
  int32_t slim_width = 0;
  double kept_latent_bytes = 0.0;
};

using RunTrial = std::function<Result<TrialCosts>(const CostTrial& trial)>;

// Errors: those of `run`.
Result<RequestCosts> MeasureRequestCosts(const CostedNetworks& networks, const RunTrial& run);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_COST_TRIALS_H_
