// ModelDescription: what a model is and what may be asked of it. Made by the pipeline from the
// model directory, completed by a load; copied into snapshots, so any thread may read it.
#ifndef TIGHTFIT_SERVER_ENGINE_MODEL_DESCRIPTION_H_
#define TIGHTFIT_SERVER_ENGINE_MODEL_DESCRIPTION_H_

#include "server/engine/generation.h"
#include "server/engine/memory_profile.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace tightfit {

// A selected weight that was not packed, and why.
struct UnpackedModule {
  std::string module;  // "down_blocks.1.attentions.0.proj_in"
  std::string reason;
};

// The weight of a Linear or Conv2d and how it is held.
struct LayerDescription {
  std::string module;
  std::string format;  // a name of kernels/format.h; of a dense one its dtype
  int64_t parameter_count = 0;
  int64_t weight_bytes = 0;
};

struct ComponentDescription {
  std::string name;  // "unet", "text_encoder", "text_encoder_2", "vae"
  // Of the packed weights; "mixed" of several; "fp16" when nothing is packed.
  std::string format;
  int64_t parameter_count = 0;
  int64_t fp16_bytes = 0;    // parameters x 2: what the component takes unpacked in fp16
  int64_t weight_bytes = 0;  // what its weights take on the device now
  int64_t packed_bytes = 0;  // the part of weight_bytes that is packed codes
  int64_t packed_parameter_count = 0;
  int32_t packed_module_count = 0;
  std::vector<UnpackedModule> unpacked_modules;
  // In the order of the graph. Descriptions are copied often, and layers are many. May be null.
  std::shared_ptr<const std::vector<LayerDescription>> layers;
};

// What a model is and what may be asked of it.
struct ModelDescription {
  std::string name;
  std::string family;           // "sdxl", "sd1", "sd2"
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
  int32_t usual_clip_skip = 2;      // A1111's number for what clip_skip 0 gives
  bool takes_second_prompt = true;  // it has a second text encoder
  bool takes_sizes = true;          // its UNet is told of sizes and crops
  bool takes_init_image = false;    // its VAE encodes, too
  bool needs_mask = false;          // its UNet sees the image around what is drawn: it inpaints
  bool embeds_guidance = false;     // its UNet takes the guidance scale itself
  std::string vae_tiling;           // as configured
  int32_t vae_tile_px = 0;  // side of the tiles that images are decoded in where they are tiled
  std::vector<ComponentDescription> components;  // filled once loaded
  double load_seconds = 0.0;
  ModelMemory memory;
  // How many chunks of tokens the longest prompt of a request has; thread-safe. Set once loaded.
  std::function<int32_t(const GenerationParameters& parameters)> chunk_count;
};

// Images of at most this area are decoded whole under vae_tiling "auto".
inline constexpr int64_t kMaxUntiledAreaPx = 1024 * 1024;

// The side of the tiles that an image of this size is decoded in, 0 where it is decoded whole: a
// function of size and configuration alone. "always" tiles whatever is larger than a tile, as
// diffusers does after enable_tiling().
int32_t VaeTilePx(const ModelDescription& model, int32_t width_px, int32_t height_px);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_MODEL_DESCRIPTION_H_
