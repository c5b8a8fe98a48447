// DiffusionModel: the seam between serving and LibTorch. A request is a state machine, not a loop:
// Begin, then Step until done, then DecodeNext until every image is out. Whoever drives it may stop
// between any two calls by destroying the Sampling.
#ifndef TIGHTFIT_SERVER_ENGINE_DIFFUSION_MODEL_H_
#define TIGHTFIT_SERVER_ENGINE_DIFFUSION_MODEL_H_

#include "server/base/load_stop.h"
#include "server/base/model_spec.h"
#include "server/base/status.h"
#include "server/engine/generation.h"
#include "server/engine/model_description.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace tightfit {

// Opaque state of one running request (a batch of image_count images).
class Sampling {
 public:
  virtual ~Sampling() = default;
  virtual int32_t step_count() const = 0;  // UNet calls in all
  virtual int32_t steps_done() const = 0;
  virtual int32_t image_count() const = 0;
  virtual int32_t images_done() const = 0;
  // Of the prompts that the request gave.
  virtual std::vector<PromptTokens> prompt_tokens() const { return {}; }
  // Latents that one call of the UNet sees, rows x height x width, and that one of the VAE sees at
  // most; 0: unknown.
  virtual int64_t denoised_latents() const { return 0; }
  virtual int64_t decoded_latents() const { return 0; }
  // The next DecodeNext needs the VAE in fp32 (OnDemand::kFp32Vae): what that takes must be set
  // aside before.
  virtual bool needs_fallback() const { return false; }
};

// Not thread-safe: one executor thread makes every call, destruction of Samplings included.
class DiffusionModel {
 public:
  virtual ~DiffusionModel() = default;

  virtual const ModelDescription& description() const = 0;

  // Tokenises, encodes the text and the image that is drawn over, for which what
  // OnDemand::kVaeEncoder takes must be set aside before, and draws the noise. Errors: what the
  // parameters make impossible.
  virtual Result<std::unique_ptr<Sampling>> Begin(const GenerationParameters& parameters) = 0;

  // One UNet call for each of `batch`, all with steps_done() < step_count(). Stops at the first
  // error: members before it have advanced, as steps_done() tells (see StepOnce).
  virtual Status Step(std::span<Sampling* const> batch) = 0;

  // Decodes the next image, or hands out its latents. Requires steps_done() == step_count() and
  // images_done() < image_count(). nullopt when more calls are needed for the same image (tiles,
  // fp32 again).
  virtual Result<std::optional<Image>> DecodeNext(Sampling& sampling) = 0;
};

struct LoadProgress {
  std::string component;
  int64_t bytes_done = 0;
  int64_t bytes_total = 0;
};

// Hears how far a load is. False: nobody waits for the model any more; the load ends with
// LoadStopped and keeps nothing on the device.
using LoadCallback = std::function<bool(const LoadProgress& progress)>;

// Steps each of `batch` once, though some of them were stepped by a call before that failed:
// `steps_before` are their steps_done() then. For calls that are tried again.
Status StepOnce(DiffusionModel& model, std::span<Sampling* const> batch,
                std::span<const int32_t> steps_before);

// What a model is, told by its directory without any work on the device: everything but the
// components. Errors: what makes the model impossible to serve.
using ModelDescriber = std::function<Result<ModelDescription>(const ModelSpec& spec)>;

// Makes a model resident; runs on the executor's thread.
using ModelLoader = std::function<Result<std::unique_ptr<DiffusionModel>>(
    const ModelSpec& spec, const LoadCallback& progress)>;

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_DIFFUSION_MODEL_H_
