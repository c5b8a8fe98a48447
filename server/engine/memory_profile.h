// RequestCosts and ModelMemory: what a model and its requests take of the device, in bytes. Made by
// the pipeline when it describes or loads a model; read by admission. Plain data.
#ifndef TIGHTFIT_SERVER_ENGINE_MEMORY_PROFILE_H_
#define TIGHTFIT_SERVER_ENGINE_MEMORY_PROFILE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tightfit {

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
  // Of images at most `slim_width` latents wide, which run by other kernels: they count as wide
  // as that. 0: there are none.
  int32_t slim_width = 0;
  CallMemory denoise_slim;
  // For each row beyond two while the UNet runs; at least `row_bytes`.
  double denoise_row_bytes = 0.0;
  // While the UNet looks at long prompts: for each chunk of each row, and for latents.
  double cross_row_chunk_bytes = 0.0;
  CallMemory cross;
  // While the VAE decodes one image, and while it encodes one.
  CallMemory decode;
  CallMemory encode_image;
  // Time of a call for each latent that its input has; 0: unknown. Of the largest that was
  // measured.
  double denoise_latent_seconds = 0.0;
  double decode_latent_seconds = 0.0;
  double encode_image_latent_seconds = 0.0;
};

// Weights that stand on the device once, for however many models of equal content.
struct WeightGroup {
  std::string component;  // "unet"
  // The same for equal tensors that are held in the same way, and for nothing else:
  // "unet-0123456789abcdef". Also the owner of their memory account.
  std::string content_key;
  // Before the first load an upper bound from the sizes of the files, then what they take.
  int64_t bytes = 0;
};

// Weights that only some requests need. They are loaded when one first does.
enum class OnDemand {
  kFp32Vae,     // what a VAE falls back to that overflows in 16 bits
  kVaeEncoder,  // for images that are drawn over
};

struct OnDemandWeights {
  int64_t bytes = 0;     // at most
  bool is_held = false;  // set aside, from the first such request until the model leaves
};

// What a model takes of its device.
struct ModelMemory {
  std::vector<WeightGroup> weights;
  int64_t weight_bytes() const {
    int64_t bytes = 0;
    for (const WeightGroup& group : weights) bytes += group.bytes;
    return bytes;
  }
  int64_t load_scratch_bytes = 0;                 // beside the weights while they are converted
  std::map<OnDemand, OnDemandWeights> on_demand;  // those that the model has
  int64_t held_on_demand_bytes() const {
    int64_t bytes = 0;
    for (const auto& [what, weights] : on_demand) bytes += weights.is_held ? weights.bytes : 0;
    return bytes;
  }
  int64_t decode_scratch_bytes = 0;  // that all models share: the largest unpacked weight
  // Keys and values of a prompt, of each chunk of each row, where they are kept while a request is
  // denoised; 0: they are computed in every step.
  int64_t text_product_bytes = 0;
  // Then they are always kept, since the weights that give them are read for each request.
  bool streams_text = false;
  int32_t unet_halvings = 0;          // of height and width on the UNet's way in, each rounded up
  std::optional<RequestCosts> costs;  // known once the model was loaded
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_MEMORY_PROFILE_H_
