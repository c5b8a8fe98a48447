// ModelDirectory: what model.json says, checked. Its specification is
// deploy/export/MODEL_DIRECTORY.md; server/model/model_manifest.h parses it.
#ifndef TIGHTFIT_SERVER_MODEL_MODEL_DIRECTORY_H_
#define TIGHTFIT_SERVER_MODEL_MODEL_DIRECTORY_H_

#include "server/base/status.h"
#include "server/model/layer_kind.h"
#include "server/model/listed_file.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// The components that models have, in the order of model.json. A model's hash is over the weights
// of those that it has.
inline constexpr std::string_view kModelComponents[] = {"unet", "text_encoder", "text_encoder_2",
                                                        "vae"};
// What some models have beside: it makes latents of images, always in fp32, and is loaded when a
// request first needs it.
inline constexpr char kVaeEncoder[] = "vae_encoder";

// By the name of the module: those whose weight a Linear or Conv2d multiplies by.
using LayerKinds = std::map<std::string, LayerKind, std::less<>>;

// What model.json says of a packed checkpoint's weight file.
struct PackedWeightFile {
  std::string index_sha256;     // of the file's bytes before its first weight
  std::string original_sha256;  // of the weight file that was packed
  std::string format;           // "e2m5r", "fp16" where nothing is packed, "mixed" of several
};

struct ManifestComponent {
  std::vector<std::string> inputs;  // of its graphs, by name, in their order
  std::vector<std::string> outputs;
  int64_t parameter_count = 0;
  LayerKinds layers;                         // empty where the exporter recorded none
  std::map<std::string, ListedFile> graphs;  // by dtype: "fp32", "bf16", "fp16"
  ListedFile weights;
  std::optional<PackedWeightFile> packed;  // of a packed checkpoint
};

// diffusers' scheduler_config.json, as far as the samplers read it. How noise levels are spread
// (use_karras_sigmas, ...) is no part of it: the sampler's name says so.
struct SchedulerConfig {
  std::string class_name;  // "EulerDiscreteScheduler", ...
  int32_t num_train_timesteps = 1000;
  double beta_start = 0.00085;
  double beta_end = 0.012;
  std::string beta_schedule = "scaled_linear";  // "linear", "scaled_linear"
  std::string timestep_spacing = "leading";     // "leading", "trailing", "linspace"
  int32_t steps_offset = 1;
  std::string interpolation_type = "linear";
  std::string final_sigmas_type = "zero";   // "zero", "sigma_min"
  std::string prediction_type = "epsilon";  // "epsilon", "v_prediction"
  bool rescale_betas_zero_snr = false;
  // The last step ends at alpha 1, not at the first alpha. Absent: true for ddim, false for pndm.
  std::optional<bool> set_alpha_to_one;
  // Of ddim, ddpm, heun and lcm: predicted clean latents are cut off beyond +- this; 0: they are
  // not.
  double clip_sample_range = 0.0;
};

// What makes embeddings of a prompt.
struct ManifestTextEncoder {
  std::string component;  // "text_encoder"
  std::string tokenizer;  // of ModelDirectory::tokenizers
};

struct ModelDirectory {
  std::string path;
  std::string name;
  std::string family;
  std::string hash;
  std::string license;
  SchedulerConfig scheduler;
  double vae_scaling_factor = 0.13025;
  bool vae_force_upcast = false;
  int32_t vae_sample_size_px = 0;  // side of the tiles that the VAE is made for
  int32_t latent_channels = 4;
  int32_t pixels_per_latent = 8;
  bool force_zeros_for_empty_prompt = true;
  int32_t default_width_px = 0;
  int32_t default_height_px = 0;
  int32_t default_step_count = 0;
  float default_guidance_scale = 0.0f;
  std::string default_sampler;
  std::vector<ManifestTextEncoder> text_encoders;  // whose hidden states stand side by side
  int32_t embedding_size = 0;                      // of all encoders' hidden states, concatenated
  int32_t pooled_size = 0;                         // 0: the UNet takes no pooled embedding
  int32_t max_clip_skip = 0;
  int32_t usual_clip_skip = 2;  // A1111's number for the hidden states that come first
  // Of a UNet that takes the guidance scale as an embedding; 0: it does not.
  int32_t guidance_embedding_size = 0;
  // The numbers that the UNet takes beside the timestep, by name: "original_height", ....
  std::vector<std::string> time_ids;
  std::map<std::string, ManifestComponent> components;
  std::map<std::string, std::map<std::string, ListedFile>> tokenizers;
  std::optional<ListedFile> sensitivity;  // weights/sensitivity.h

  std::string PathOf(const ListedFile& file) const { return path + "/" + file.file; }
};

// Those that it has, in the order of model.json.
std::vector<std::string> ComponentNamesOf(const ModelDirectory& directory);

// Whether the weights were packed once and for all (weights/packed_checkpoint.h).
inline bool IsPackedDirectory(const ModelDirectory& directory) {
  for (const auto& [name, component] : directory.components) {
    if (component.packed.has_value()) return true;
  }
  return false;
}

// The text of model.json, at most 1 MiB. Errors: FILE_MISSING; BAD_MODEL_DIRECTORY if it is larger.
Result<std::string> ReadManifestText(const std::string& path);

// Stands in a directory whose large files are cut for an upload (weights/shard_list.h).
inline constexpr char kShardListName[] = "shards.json";

// Reads and checks model.json. Errors: FAILED_PRECONDITION `BAD_MODEL_DIRECTORY`
// with the key and what is wrong; `DIRECTORY_IS_CUT` where weights are there in shards alone;
// UNIMPLEMENTED for a schema version or prediction type that this build cannot serve. Whether it
// serves the family is the pipeline's to say.
Result<ModelDirectory> ReadModelDirectory(const std::string& path);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_MODEL_DIRECTORY_H_
