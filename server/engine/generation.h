// The plain types of one request: what was asked, what happens, what comes out.
// Free of gRPC and of LibTorch.
#ifndef TIGHTFIT_SERVER_ENGINE_GENERATION_H_
#define TIGHTFIT_SERVER_ENGINE_GENERATION_H_

#include "server/base/status.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// How a prompt is read: with weights, BREAK and chunks, or as diffusers reads it.
enum class PromptSyntax { kWeighted, kPlain };

// What comes out: decoded images, or the latents as the last step left them.
enum class OutputKind { kImage, kLatents };

// The latents of one image, [channels, height, width], as a sampler left them.
struct Latents {
  int32_t channels = 0;
  int32_t height = 0;
  int32_t width = 0;
  std::vector<float> values;
};

// 8-bit RGB, rows from top to bottom, no padding: height_px * width_px * 3 bytes.
struct RgbImage {
  int32_t width_px = 0;
  int32_t height_px = 0;
  std::vector<uint8_t> rgb;
};

// Which pixels of an image are drawn anew: 255, or kept: 0. Rows from top to bottom, no padding:
// height_px * width_px bytes.
struct ImageMask {
  int32_t width_px = 0;
  int32_t height_px = 0;
  std::vector<uint8_t> drawn;
};

// A part of an image.
struct PixelBox {
  int32_t left_px = 0;
  int32_t top_px = 0;
  int32_t width_px = 0;
  int32_t height_px = 0;
};

// What an image becomes larger by on each side.
struct Margins {
  int32_t left_px = 0;
  int32_t top_px = 0;
  int32_t right_px = 0;
  int32_t bottom_px = 0;

  friend bool operator==(const Margins&, const Margins&) = default;
};

// What of an image is given to the model: all of it, or the surroundings of its mask.
enum class InpaintArea { kWholeImage, kMasked };

// What a drawn image becomes a part of: it is resized to `box` of `image`, and shows there as much
// as `opacity` says.
struct Composition {
  std::shared_ptr<const RgbImage> image;
  PixelBox box;  // within `image`
  // 255: what is drawn, 0: `image`. Rows from top to bottom: box.height_px * box.width_px bytes.
  std::vector<uint8_t> opacity;
};

// A validated request with every default of its model filled in.
struct GenerationParameters {
  std::string request_id;
  std::string model;
  std::string prompt;
  std::optional<std::string> prompt_2;           // absent: `prompt`
  std::optional<std::string> negative_prompt;    // absent: see ModelDescription
  std::optional<std::string> negative_prompt_2;  // absent: `negative_prompt`
  int32_t width_px = 0;
  int32_t height_px = 0;
  int32_t step_count = 0;
  float guidance_scale = 0.0f;    // <= 1 turns classifier-free guidance off, as in diffusers
  float guidance_rescale = 0.0f;  // 0 to 1
  bool embeds_guidance = false;   // the model's denoiser takes the scale itself
  std::string sampler;            // a name of ModelDescription::samplers
  int64_t seed = 0;               // image i uses seed + i
  int32_t image_count = 1;
  PromptSyntax prompt_syntax = PromptSyntax::kWeighted;
  int32_t clip_skip = 0;  // 0 to ModelDescription::max_clip_skip
  // "leading", "trailing" or "linspace"; empty: the model's.
  std::string timestep_spacing;
  // How far back a chunk may end at a comma; 0: never there. With kWeighted alone.
  int32_t comma_backtrack_tokens = 20;
  // The part of the training timesteps to denoise over; step_count is that of the whole.
  float denoising_start = 0.0f;
  float denoising_end = 1.0f;
  std::vector<Latents> initial_latents;  // one for each image where denoising_start > 0, else none
  // What is drawn over, of width_px x height_px; null: nothing. Shared by copies of the request.
  std::shared_ptr<const RgbImage> init_image;
  // Of the same size; null: all of it is drawn anew. Only with `init_image`.
  std::shared_ptr<const ImageMask> mask;
  // How much of the denoising is done over `init_image`, above 0 to 1. A double, as in diffusers:
  // the steps are cut from 0.7 * step_count, of which a float loses one.
  double strength = 1.0;
  // Pixels that `mask` keeps are `init_image`'s own; else what the VAE makes of them.
  bool keep_unmasked_pixels = true;
  // How `init_image` and `mask` were made of what was sent: told to clients, not done again.
  int32_t mask_blur_px = 0;
  InpaintArea inpaint_area = InpaintArea::kWholeImage;
  int32_t inpaint_padding_px = 32;
  Margins outpaint;
  // What becomes of every image after the model: null: nothing. No model looks at it.
  std::shared_ptr<const Composition> composition;
  OutputKind output = OutputKind::kImage;
  // SDXL micro-conditioning, (height, width) like diffusers; absent: the image's size and (0, 0).
  struct SizePx {
    int32_t height_px = 0;
    int32_t width_px = 0;
  };
  std::optional<SizePx> original_size;
  std::optional<SizePx> target_size;
  std::optional<SizePx> crop_top_left;
};

// The size of the images that are answered, which another one is drawn for where there is a
// composition.
inline GenerationParameters::SizePx OutputSize(const GenerationParameters& parameters) {
  if (parameters.composition == nullptr || parameters.output == OutputKind::kLatents) {
    return {.height_px = parameters.height_px, .width_px = parameters.width_px};
  }
  const RgbImage& image = *parameters.composition->image;
  return {.height_px = image.height_px, .width_px = image.width_px};
}

// As diffusers: guidance off at a scale of 1 or less, and where the denoiser takes the scale
// itself.
inline bool UsesGuidance(const GenerationParameters& parameters) {
  return parameters.guidance_scale > 1.0f && !parameters.embeds_guidance;
}

// kModelLoad only where the model was not on the device.
enum class Stage { kModelLoad, kTextEncode, kDenoise, kVaeDecode, kImageEncode };
std::string_view StageName(Stage stage);  // "model_load", "text_encode", "denoise", ...

// What became of one prompt's tokens.
struct PromptTokens {
  std::string field;  // of GenerationParameters: "prompt", "negative_prompt_2"
  int32_t token_count = 0;
  int32_t used_token_count = 0;
  int32_t chunk_count = 0;
};

// Something in a request that is allowed but is probably not what was meant.
struct RequestWarning {
  std::string reason;  // stable: "LORA_IGNORED"
  std::string field;   // of GenerationParameters
  int32_t offset_bytes = 0;
  std::string text;     // the part of the field's value that is meant
  std::string message;  // what was done with it, and what to do instead
};

struct GenerationProgress {
  Stage stage = Stage::kTextEncode;
  int32_t step = 0;  // finished steps of `step_count`
  int32_t step_count = 0;
  std::chrono::nanoseconds elapsed{0};                // since the request started
  std::optional<std::chrono::nanoseconds> remaining;  // known after the first step
};

struct Image {
  int32_t index = 0;  // of the request's images
  int64_t seed = 0;
  int32_t width_px = 0;
  int32_t height_px = 0;
  // 8-bit RGB, rows from top to bottom, no padding: height_px * width_px * 3 bytes. Empty where
  // latents were asked for.
  std::vector<uint8_t> rgb;
  Latents latents;
  // The VAE gave values that are not finite in 16 bits, so this image was decoded again in fp32.
  bool decoded_again_in_fp32 = false;
};

struct StageTiming {
  Stage stage;
  std::chrono::nanoseconds duration;
};

struct GenerationTimings {
  std::chrono::nanoseconds queued{0};
  std::chrono::nanoseconds total{0};  // from start to the last image's pixels
  std::vector<StageTiming> stages;
};

// Receives what happens to one request, in order: OnQueued*, OnStarted, OnProgress and OnImage
// mixed, OnPromptTokens once among them, OnFinished exactly once and last (also without OnStarted).
// Called on the executor's thread, or on the submitting thread for the first OnQueued: must return
// at once and never call back into the executor.
class GenerationObserver {
 public:
  virtual ~GenerationObserver() = default;
  virtual void OnQueued(int32_t position) = 0;  // requests ahead of this one
  virtual void OnStarted(const GenerationParameters& parameters) = 0;
  virtual void OnProgress(const GenerationProgress& progress) = 0;
  // Of every prompt that the request gave, once they are encoded.
  virtual void OnPromptTokens(const std::vector<PromptTokens>& prompts) { (void)prompts; }
  virtual void OnImage(Image image) = 0;
  virtual void OnFinished(const Status& status, const GenerationTimings& timings) = 0;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_GENERATION_H_
