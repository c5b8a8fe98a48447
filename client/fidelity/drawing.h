// Draws the images that are compared, through the server's own pipeline.
#ifndef TIGHTFIT_CLIENT_FIDELITY_DRAWING_H_
#define TIGHTFIT_CLIENT_FIDELITY_DRAWING_H_

#include "client/fidelity/prompt_list.h"
#include "server/base/status.h"
#include "server/engine/diffusion_model.h"
#include "server/image/png.h"

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace tightfit::fidelity {

struct DrawOptions {
  std::vector<std::string> samplers;
  int32_t width_px = 0;
  int32_t height_px = 0;
  int32_t step_count = 0;
  float guidance_scale = 0.0f;
  int64_t seed = 0;  // of the first prompt; each has the next one
};

// One prompt after all steps of one sampler.
struct DrawnImage {
  std::vector<float> latents;
  // Before each step, the noise first. Of Draw alone.
  std::vector<std::vector<float>> trajectory;
  RgbImage image;
};

// One prompt after a single step of `euler`.
struct OneStep {
  std::vector<float> latents;
  // The guided output of the UNet, times the first sigma: what that step took from the noise.
  std::vector<float> unet_output;
};

struct Drawing {
  std::vector<OneStep> one_step;                    // one a prompt
  std::vector<std::vector<DrawnImage>> by_sampler;  // [sampler][prompt]
};

// Prompt `index` after all steps of the first sampler; without an image unless `with_image`.
// Errors: Draw's.
Result<DrawnImage> DrawOne(DiffusionModel& model, const Prompt& prompt, const DrawOptions& options,
                           size_t index, bool with_image, const std::stop_token& stop);

// `on_image` is told after each image. Errors: of the model; CANCELLED once `stop` is asked
// for.
Result<Drawing> Draw(DiffusionModel& model, const std::vector<Prompt>& prompts,
                     const DrawOptions& options, const std::stop_token& stop,
                     const std::function<void()>& on_image);

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_DRAWING_H_
