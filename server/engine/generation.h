// The plain types of one text-to-image request: what was asked, what happens, what comes out.
// Free of gRPC and of LibTorch.
#ifndef TIGHTFIT_SERVER_ENGINE_GENERATION_H_
#define TIGHTFIT_SERVER_ENGINE_GENERATION_H_

#include "server/base/status.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

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
  std::string sampler;            // a name of ModelDescription::samplers
  int64_t seed = 0;               // image i uses seed + i
  int32_t image_count = 1;
  // SDXL micro-conditioning, (height, width) like diffusers; absent: the picture's size and (0, 0).
  struct SizePx {
    int32_t height_px = 0;
    int32_t width_px = 0;
  };
  std::optional<SizePx> original_size;
  std::optional<SizePx> target_size;
  std::optional<SizePx> crop_top_left;
};

enum class Stage { kTextEncode, kDenoise, kVaeDecode, kImageEncode };
std::string_view StageName(Stage stage);  // "text_encode", "denoise", "vae_decode", "image_encode"

struct GenerationProgress {
  Stage stage = Stage::kTextEncode;
  int32_t step = 0;  // finished steps of `step_count`
  int32_t step_count = 0;
  std::chrono::nanoseconds elapsed{0};                // since the request started
  std::optional<std::chrono::nanoseconds> remaining;  // known after the first step
};

// 8-bit RGB, rows from top to bottom, no padding: height_px * width_px * 3 bytes.
struct Image {
  int32_t index = 0;  // of the request's images
  int64_t seed = 0;
  int32_t width_px = 0;
  int32_t height_px = 0;
  std::vector<uint8_t> rgb;
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
// mixed, OnFinished exactly once and last (also without OnStarted). Called on the executor's
// thread, or on the submitting thread for the first OnQueued: must return at once and never call
// back into the executor.
class GenerationObserver {
 public:
  virtual ~GenerationObserver() = default;
  virtual void OnQueued(int32_t position) = 0;  // requests ahead of this one
  virtual void OnStarted(const GenerationParameters& parameters) = 0;
  virtual void OnProgress(const GenerationProgress& progress) = 0;
  virtual void OnImage(Image image) = 0;
  virtual void OnFinished(const Status& status, const GenerationTimings& timings) = 0;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_GENERATION_H_
