// DiffusionModel: the seam between serving and LibTorch. A request is a state machine, not a loop:
// Begin, then Step until done, then DecodeNext until every image is out. Whoever drives it may stop
// between any two calls by destroying the Sampling.
#ifndef TIGHTFIT_SERVER_ENGINE_DIFFUSION_MODEL_H_
#define TIGHTFIT_SERVER_ENGINE_DIFFUSION_MODEL_H_

#include "server/base/load_stop.h"
#include "server/base/status.h"
#include "server/engine/generation.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace tightfit {

// What the configuration says of one model.
struct ModelSpec {
  std::string name;
  std::string path;                    // the model directory
  std::string format = "hf8";          // "fp16" = unpacked, or a name of kernels/format.h
  std::string scope = "linear+conv";   // "attention", "linear", "linear+conv"
  std::string compute_dtype = "auto";  // "auto", "fp16", "bf16", "fp32"
  std::vector<std::string> exclude;    // module name prefixes that stay unpacked
  std::string vae;                     // weights to decode with; "": the model directory's own
  std::string vae_tiling = "auto";     // "auto", "always", "never"
  int32_t vae_tile_px = 0;             // side of a tile; 0: the model's own
  bool share_weights = true;           // with models of equal content
  bool preload = false;                // resident from the start, not from the first request on
  bool pinned = false;                 // never evicted
  int32_t keep_alive_seconds = 0;      // evicted when unused for so long; 0: never for that
  int32_t priority = 0;                // of those that may go, lower ones go first
};
inline constexpr int32_t kMaxPriority = 1000;  // and -kMaxPriority the least

// A selected weight that was not packed, and why.
struct UnpackedModule {
  std::string module;  // "down_blocks.1.attentions.0.proj_in"
  std::string reason;
};

struct ComponentDescription {
  std::string name;    // "unet", "text_encoder", "text_encoder_2", "vae"
  std::string format;  // of the packed weights; "fp16" when nothing is packed
  int64_t parameter_count = 0;
  int64_t fp16_bytes = 0;    // parameters x 2: what the component takes unpacked in fp16
  int64_t weight_bytes = 0;  // what its weights take on the device now
  int64_t packed_bytes = 0;  // the part of weight_bytes that is packed codes
  int64_t packed_parameter_count = 0;
  int32_t packed_module_count = 0;
  std::vector<UnpackedModule> unpacked_modules;
};

// Bytes of tensors that one call of a network takes at once, by how many latents its input has:
// rows x height x width. Through measured points in straight lines.
struct CallMemory {
  struct Point {
    double latents = 0.0;
    double bytes = 0.0;
  };
  std::vector<Point> points;  // in order of latents

  // Below the first point what that says; beyond the last the last line goes on; 0 without points.
  double BytesAt(double latents) const;
};

// What the UNet takes of two rows or more where halving a side rounds up, so that its inner levels
// are larger than a quarter each.
struct UnevenMemory {
  double unevenness = 0.0;  // as UnevennessOf (memory_estimate.h)
  CallMemory call;
};

// What requests take beside the weights, measured when a model is loaded.
struct RequestCosts {
  // While prompts of one chunk of tokens are encoded, and for each chunk more; beside that, for
  // each chunk of each row, while what was encoded is put together.
  double encode_bytes = 0.0;
  double encode_chunk_bytes = 0.0;
  double join_row_chunk_bytes = 0.0;
  // What a request holds between two calls: of each row (one an image, two with guidance), of each
  // latent of a row, and of each further chunk of a row's prompt.
  double row_bytes = 0.0;
  double row_latent_bytes = 0.0;
  double row_chunk_bytes = 0.0;
  // What some samplers keep from step to step, of each latent of an image.
  double kept_latent_bytes = 0.0;
  // While the UNet runs, with what requests hold: of one row, and of two rows or more.
  CallMemory denoise_one;
  CallMemory denoise;
  // In order of unevenness. Beyond the last, or without any, sides count as rounded up to what all
  // halvings divide.
  std::vector<UnevenMemory> denoise_uneven;
  // Of pictures at most `slim_width` latents wide, which run by other kernels: they count as wide
  // as that. 0: there are none.
  int32_t slim_width = 0;
  CallMemory denoise_slim;
  // For each row beyond two while the UNet runs; at least `row_bytes`.
  double denoise_row_bytes = 0.0;
  // While the UNet looks at long prompts: for each chunk of each row, and for latents.
  double cross_row_chunk_bytes = 0.0;
  CallMemory cross;
  // While the VAE decodes one image.
  CallMemory decode;
  // Time of a call for each latent that its input has; 0: unknown. Of the largest that was
  // measured.
  double denoise_latent_seconds = 0.0;
  double decode_latent_seconds = 0.0;
};

// Weights that stand on the device once, for however many models of equal content.
struct WeightGroup {
  std::string component;  // "unet"
  // The same for equal tensors that are held in the same way, and for nothing else:
  // "unet-0123456789abcdef". Also the owner of their memory account.
  std::string content;
  // Before the first load an upper bound from the sizes of the files, then what they take.
  int64_t bytes = 0;
};

// What a model takes of its device.
struct ModelMemory {
  std::vector<WeightGroup> weights;
  int64_t weight_bytes() const {
    int64_t bytes = 0;
    for (const WeightGroup& group : weights) bytes += group.bytes;
    return bytes;
  }
  int64_t load_scratch_bytes = 0;     // beside the weights while they are converted
  int64_t fallback_weight_bytes = 0;  // at most, of the VAE in fp32, where a request may need it
  int64_t held_fallback_bytes = 0;    // of it, set aside from then on until the model leaves
  int64_t decode_scratch_bytes = 0;   // that all models share: the largest unpacked weight
  int32_t unet_halvings = 0;          // of height and width on the UNet's way in, each rounded up
  std::optional<RequestCosts> costs;  // known once the model was loaded
};

// What a model is and what may be asked of it.
struct ModelDescription {
  std::string name;
  std::string family;           // "sdxl"
  std::string hash;             // first 10 hex digits, as A1111 shows it
  std::string prediction_type;  // "epsilon"
  std::string format;
  std::string scope;
  std::string compute_dtype;  // resolved: "fp16", "bf16", "fp32"
  std::string device;         // "cpu", "cuda:0"
  std::string license;
  int32_t default_width_px = 0;
  int32_t default_height_px = 0;
  int32_t default_step_count = 0;
  float default_guidance_scale = 0.0f;
  std::string default_sampler;
  std::string default_timestep_spacing;  // "leading", "trailing", "linspace"
  std::vector<std::string> samplers;
  int32_t pixels_per_latent = 0;  // width and height must be multiples of it
  int32_t latent_channels = 0;
  bool force_zeros_for_empty_prompt = true;  // an absent negative prompt gives zero embeddings
  int32_t max_clip_skip = 0;
  std::string vae_tiling;   // as configured
  int32_t vae_tile_px = 0;  // side of the tiles that pictures are decoded in where they are tiled
  std::vector<ComponentDescription> components;  // filled once loaded
  double load_seconds = 0.0;
  ModelMemory memory;
  // How many chunks of tokens the longest prompt of a request has; thread-safe. Set once loaded.
  std::function<int32_t(const GenerationParameters& parameters)> chunk_count;
};

// Pictures of at most this area are decoded whole under vae_tiling "auto".
inline constexpr int64_t kMaxUntiledAreaPx = 1024 * 1024;

// The side of the tiles that a picture of this size is decoded in, 0 where it is decoded whole: a
// function of size and configuration alone. "always" tiles whatever is larger than a tile, as
// diffusers does after enable_tiling().
int32_t VaeTilePx(const ModelDescription& model, int32_t width_px, int32_t height_px);

// Opaque state of one running request (a batch of image_count pictures).
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
  // The next DecodeNext needs the VAE in fp32 (ModelMemory::fallback_weight_bytes): what that takes
  // must be set aside before.
  virtual bool needs_fallback() const { return false; }
};

// Not thread-safe: one executor thread makes every call, destruction of Samplings included.
class DiffusionModel {
 public:
  virtual ~DiffusionModel() = default;

  virtual const ModelDescription& description() const = 0;

  // Tokenises, encodes the text, draws the noise. Errors: what the parameters make impossible.
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
