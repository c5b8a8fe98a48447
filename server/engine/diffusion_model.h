// DiffusionModel: the seam between serving and LibTorch. A request is a state machine, not a loop:
// Begin, then Step until done, then DecodeNext until every image is out. Whoever drives it may stop
// between any two calls by destroying the Sampling.
#ifndef TIGHTFIT_SERVER_ENGINE_DIFFUSION_MODEL_H_
#define TIGHTFIT_SERVER_ENGINE_DIFFUSION_MODEL_H_

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
};

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

// What a resident model is and what may be asked of it.
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
  std::vector<std::string> samplers;
  int32_t pixels_per_latent = 0;             // width and height must be multiples of it
  bool force_zeros_for_empty_prompt = true;  // an absent negative prompt gives zero embeddings
  std::vector<ComponentDescription> components;
  double load_seconds = 0.0;
};

// Opaque state of one running request (a batch of image_count pictures).
class Sampling {
 public:
  virtual ~Sampling() = default;
  virtual int32_t step_count() const = 0;  // UNet steps in all
  virtual int32_t steps_done() const = 0;
  virtual int32_t image_count() const = 0;
  virtual int32_t images_done() const = 0;
};

// Not thread-safe: one executor thread makes every call, destruction of Samplings included.
class DiffusionModel {
 public:
  virtual ~DiffusionModel() = default;

  virtual const ModelDescription& description() const = 0;

  // Tokenises, encodes the text, draws the noise. Errors: what the parameters make impossible.
  virtual Result<std::unique_ptr<Sampling>> Begin(const GenerationParameters& parameters) = 0;

  // One UNet call for each of `batch`, all with steps_done() < step_count().
  virtual Status Step(std::span<Sampling* const> batch) = 0;

  // Decodes the next image. Requires steps_done() == step_count() and images_done() <
  // image_count(). nullopt when more calls are needed for the same image (tiles).
  virtual Result<std::optional<Image>> DecodeNext(Sampling& sampling) = 0;
};

struct LoadProgress {
  std::string component;
  int64_t bytes_done = 0;
  int64_t bytes_total = 0;
};

// Makes a model resident; runs on the executor's thread.
using ModelLoader = std::function<Result<std::unique_ptr<DiffusionModel>>(
    const ModelSpec& spec, const std::function<void(const LoadProgress&)>& progress)>;

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_DIFFUSION_MODEL_H_
