// One request as a client sees it: what it asks and what it is told. The fields,
// their ranges and defaults are those of proto/tightfit/v1/image_generation.proto.
#ifndef TIGHTFIT_CLIENT_CPP_GENERATION_TYPES_H_
#define TIGHTFIT_CLIENT_CPP_GENERATION_TYPES_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tightfit::client {

struct Size {
  int32_t width_px = 0;
  int32_t height_px = 0;
};

struct Offset {
  int32_t left_px = 0;
  int32_t top_px = 0;
};

struct Margins {
  int32_t left_px = 0;
  int32_t top_px = 0;
  int32_t right_px = 0;
  int32_t bottom_px = 0;
};

enum class InpaintArea { kWholeImage, kMasked };
std::string_view InpaintAreaName(InpaintArea area);  // "whole_image", "masked"

enum class PromptSyntax { kWeighted, kPlain };
std::string_view PromptSyntaxName(PromptSyntax syntax);  // "weighted", "plain"

// The media types that images come in.
inline constexpr char kPngMimeType[] = "image/png";
inline constexpr char kLatentsMimeType[] = "application/x-safetensors";

// An absent field takes the model's default, told in Started. All texts are UTF-8.
struct ImageRequest {
  std::string request_id;  // empty: made by the server
  std::optional<std::string> model;
  std::string prompt;
  std::optional<std::string> prompt_2;
  std::optional<std::string> negative_prompt;
  std::optional<std::string> negative_prompt_2;
  std::optional<int32_t> width_px;
  std::optional<int32_t> height_px;
  std::optional<int32_t> step_count;
  std::optional<float> guidance_scale;
  std::optional<float> guidance_rescale;
  std::optional<std::string> sampler;
  std::optional<int64_t> seed;
  std::optional<int32_t> image_count;
  std::optional<Size> original_size;
  std::optional<Size> target_size;
  std::optional<Offset> crop_top_left;
  std::optional<std::string> mime_type;
  std::optional<bool> embed_metadata;
  std::optional<PromptSyntax> prompt_syntax;
  std::optional<int32_t> clip_skip;
  std::optional<float> denoising_start;
  std::optional<float> denoising_end;
  std::vector<std::string> initial_latents;     // safetensors files, one for each image
  std::optional<std::string> timestep_spacing;  // "leading", "trailing", "linspace"
  // How far back a chunk of a weighted prompt may end at a comma; 0: never there.
  std::optional<int32_t> comma_backtrack_tokens;
  std::optional<std::string> init_image;  // to draw over: a PNG, JPEG or WebP file's bytes
  std::optional<double> strength;         // above 0 to 1; a double, so that 0.7 of 10 steps are 7
  // An image of the same kinds and size: white is drawn anew, black is kept.
  std::optional<std::string> mask;
  std::optional<bool> keep_unmasked_pixels;
  std::optional<int32_t> mask_blur_px;  // 0: not at all
  // kMasked: only the mask's surroundings are drawn, at width_px x height_px; images come in the
  // size of init_image.
  std::optional<InpaintArea> inpaint_area;
  std::optional<int32_t> inpaint_padding_px;  // with kMasked
  std::optional<Margins> outpaint;            // makes init_image larger, and draws there
};

struct ResolvedParameters {
  std::string model;
  std::string model_hash;
  int32_t width_px = 0;
  int32_t height_px = 0;
  int32_t step_count = 0;
  float guidance_scale = 0.0f;
  float guidance_rescale = 0.0f;
  std::string sampler;
  int64_t seed = 0;
  int32_t image_count = 0;
  Size original_size;
  Size target_size;
  Offset crop_top_left;
  std::string format;
  std::string scope;
  std::string compute_dtype;
  PromptSyntax prompt_syntax = PromptSyntax::kWeighted;
  int32_t clip_skip = 0;
  float denoising_start = 0.0f;
  float denoising_end = 1.0f;
  int32_t vae_tile_px = 0;  // 0: decoded whole
  std::string timestep_spacing;
  int32_t comma_backtrack_tokens = 0;
  double strength = 0.0;  // 0: nothing was drawn over
  int32_t mask_blur_px = 0;
  std::optional<InpaintArea> inpaint_area;  // of a mask
  int32_t inpaint_padding_px = 0;           // 0 without kMasked
  Margins outpaint;
};

// Something in a request that is allowed but is probably not what was meant.
struct RequestWarning {
  std::string reason;        // stable: "LORA_IGNORED"
  std::string field;         // "prompt", "negative_prompt", ...
  int32_t offset_bytes = 0;  // where `text` begins in the field's value
  std::string text;
  std::string message;  // what was done with it, and what to do instead
};

enum class Stage { kUnspecified, kModelLoad, kTextEncode, kDenoise, kVaeDecode, kImageEncode };
std::string_view StageName(Stage stage);  // "text_encode"; "" for kUnspecified

struct Queued {
  int32_t position = 0;  // requests ahead of this one
};

struct Started {
  std::string request_id;
  ResolvedParameters parameters;
  std::vector<RequestWarning> warnings;
};

struct Progress {
  Stage stage = Stage::kUnspecified;
  int32_t step = 0;  // finished steps of step_count
  int32_t step_count = 0;
  std::chrono::nanoseconds elapsed{0};                // since the request started
  std::optional<std::chrono::nanoseconds> remaining;  // known after the first step
};

// One whole encoded image, put together from its chunks.
struct Image {
  int32_t index = 0;
  int64_t seed = 0;
  std::string mime_type;
  std::string content;
};

struct ImageMetadata {
  int32_t index = 0;
  int64_t seed = 0;
  std::string mime_type;
  int32_t width_px = 0;
  int32_t height_px = 0;
  int64_t size_bytes = 0;
};

struct Timings {
  std::chrono::nanoseconds queued{0};
  std::chrono::nanoseconds text_encode{0};
  std::chrono::nanoseconds denoise{0};
  std::chrono::nanoseconds vae_decode{0};
  std::chrono::nanoseconds image_encode{0};
  std::chrono::nanoseconds total{0};       // from start to the last byte
  std::chrono::nanoseconds model_load{0};  // 0: the model was on the device already
};

// What became of one prompt's tokens.
struct PromptTokens {
  std::string field;  // "prompt", "negative_prompt", ...
  int32_t token_count = 0;
  int32_t used_token_count = 0;
  int32_t chunk_count = 0;
};

struct Completed {
  std::vector<ImageMetadata> images;
  Timings timings;
  std::vector<PromptTokens> prompt_tokens;
};

enum class Admission { kUnspecified, kNow, kLater, kNever };
std::string_view AdmissionName(Admission admission);  // "now", "later", "never"

// What a request would take.
struct Estimate {
  ResolvedParameters parameters;
  Admission admission = Admission::kUnspecified;
  int64_t weight_bytes = 0;  // of the model, where it is not on the device
  int64_t load_scratch_bytes = 0;
  int64_t denoise_bytes = 0;
  int64_t decode_bytes = 0;
  int64_t request_bytes = 0;  // the larger of both
  bool is_measured = false;
  int64_t free_bytes = 0;
  int64_t evictable_bytes = 0;
  int64_t limit_bytes = 0;
  std::vector<std::string> evicted_models;
  std::chrono::nanoseconds expected_wait{0};
  std::vector<RequestWarning> warnings;
};

// In order: Queued*, Started, Progress and Image mixed, Completed.
using Event = std::variant<Queued, Started, Progress, Image, Completed>;

}  // namespace tightfit::client

#endif  // TIGHTFIT_CLIENT_CPP_GENERATION_TYPES_H_
