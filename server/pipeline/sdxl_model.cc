#include "server/pipeline/sdxl_model.h"

#include "server/model/component.h"
#include "server/model/model_directory.h"
#include "server/pipeline/clip_tokenizer.h"
#include "server/pipeline/compute_dtype.h"
#include "server/pipeline/prompt_chunks.h"
#include "server/pipeline/samplers.h"
#include "server/pipeline/sdxl_pipeline.h"
#include "server/pipeline/sdxl_sampling.h"

#include <chrono>
#include <filesystem>
#include <utility>

namespace tightfit {
namespace {

constexpr int64_t kMaxTokenizerFileBytes = 64 << 20;

// Checks every listed file of a tokenizer before any of them is parsed.
Result<std::shared_ptr<const ClipTokenizer>> LoadTokenizer(const ModelDirectory& directory,
                                                           const std::string& name) {
  const auto found = directory.tokenizers.find(name);
  const char* const vocabulary_name =
      found != directory.tokenizers.end() && found->second.contains("vocab.json")
          ? "vocab.json"
          : "tokenizer.json";
  if (found == directory.tokenizers.end() || !found->second.contains(vocabulary_name)) {
    return Status(StatusCode::kFailedPrecondition, "BAD_MODEL_DIRECTORY",
                  "model.json lists no vocab.json for tokenizers." + name);
  }
  for (const auto& [file_name, file] : found->second) {
    TF_RETURN_IF_ERROR(ReadListedFile(directory, file, kMaxTokenizerFileBytes).status());
  }
  const std::filesystem::path vocabulary = directory.PathOf(found->second.at(vocabulary_name));
  TF_ASSIGN_OR_RETURN(std::unique_ptr<ClipTokenizer> tokenizer,
                      ClipTokenizer::Load(vocabulary.parent_path().string()));
  return std::shared_ptr<const ClipTokenizer>(std::move(tokenizer));
}

// Loads the components of one model, one after the other, and tells how far it is.
class SdxlLoader {
 public:
  SdxlLoader(const ModelSpec& spec, ModelDirectory directory, ComputeDtypes dtypes,
             const std::function<void(const LoadProgress&)>& progress)
      : spec_(spec), directory_(std::move(directory)), dtypes_(dtypes), progress_(progress) {
    for (const auto& [name, component] : directory_.components) {
      bytes_total_ += component.weights.bytes;
    }
  }

  Result<std::unique_ptr<DiffusionModel>> Load() {
    const auto start = std::chrono::steady_clock::now();
    TF_ASSIGN_OR_RETURN(TextEncoder::Half first, LoadTextEncoder("tokenizer", "text_encoder"));
    TF_ASSIGN_OR_RETURN(TextEncoder::Half second, LoadTextEncoder("tokenizer_2", "text_encoder_2"));
    TF_ASSIGN_OR_RETURN(Network vae, LoadNetwork("vae", dtypes_.vae, "fp16"));
    VaeDecoder::Load load_fp32_vae;
    if (dtypes_.vae != at::kFloat) {
      load_fp32_vae = [directory = directory_,
                       options = OptionsOf("vae", at::kFloat, "fp16")]() -> Result<Network> {
        TF_ASSIGN_OR_RETURN(std::unique_ptr<Component> loaded,
                            Component::Load(directory, options, {}));
        return NetworkOf(std::move(loaded));
      };
    }
    TF_ASSIGN_OR_RETURN(Network unet, LoadNetwork("unet", dtypes_.model, spec_.format));
    ModelDescription description = Describe();
    description.load_seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return std::unique_ptr<DiffusionModel>(std::make_unique<SdxlPipeline>(SdxlPipeline::Parts{
        .description = std::move(description),
        .scheduler = directory_.scheduler,
        .latent_channels = directory_.latent_channels,
        .text_encoder = TextEncoder(std::move(first), std::move(second)),
        .unet = std::move(unet),
        .vae =
            VaeDecoder(std::move(vae), directory_.vae_scaling_factor, std::move(load_fp32_vae))}));
  }

 private:
  Result<TextEncoder::Half> LoadTextEncoder(const std::string& tokenizer_name,
                                            const std::string& component) {
    TF_ASSIGN_OR_RETURN(std::shared_ptr<const ClipTokenizer> tokenizer,
                        LoadTokenizer(directory_, tokenizer_name));
    TF_ASSIGN_OR_RETURN(Network network, LoadNetwork(component, dtypes_.model, "fp16"));
    return TextEncoder::Half{.chunk =
                                 [tokenizer](std::string_view prompt, PromptSyntax syntax) {
                                   return ChunkPrompt(prompt, syntax, *tokenizer);
                                 },
                             .network = std::move(network)};
  }

  ComponentOptions OptionsOf(const std::string& name, at::ScalarType dtype,
                             const std::string& format) const {
    return {.model = spec_.name,
            .component = name,
            .format = format,
            .scope = spec_.scope,
            .exclude = spec_.exclude,
            .dtype = dtype,
            .device = at::kCPU,
            .weights_path = name == "vae" ? spec_.vae : std::string()};
  }

  static Network NetworkOf(std::unique_ptr<Component> loaded) {
    const std::shared_ptr<Component> component = std::move(loaded);
    return Network{
        .run = [component](
                   std::vector<c10::IValue> inputs) { return component->Run(std::move(inputs)); },
        .dtype = component->dtype(),
        .device = component->device()};
  }

  Result<Network> LoadNetwork(const std::string& name, at::ScalarType dtype,
                              const std::string& format) {
    TF_ASSIGN_OR_RETURN(
        std::unique_ptr<Component> loaded,
        Component::Load(directory_, OptionsOf(name, dtype, format), [this, &name](int64_t bytes) {
          bytes_done_ += bytes;
          if (!progress_) return;
          progress_({.component = name,
                     .bytes_done = std::min(bytes_done_, bytes_total_),
                     .bytes_total = bytes_total_});
        }));
    components_.push_back(loaded->description());
    return NetworkOf(std::move(loaded));
  }

  ModelDescription Describe() const {
    ModelDescription description;
    description.name = spec_.name;
    description.family = directory_.family;
    description.hash = directory_.hash.substr(0, 10);
    description.prediction_type = directory_.scheduler.prediction_type;
    description.format = spec_.format;
    description.scope = spec_.scope;
    description.compute_dtype = DtypeName(dtypes_.model);
    description.device = "cpu";
    description.license = directory_.license;
    description.default_width_px = directory_.default_width_px;
    description.default_height_px = directory_.default_height_px;
    description.default_step_count = directory_.default_step_count;
    description.default_guidance_scale = directory_.default_guidance_scale;
    description.default_sampler = directory_.default_sampler;
    description.samplers = SamplerNames();
    description.pixels_per_latent = directory_.pixels_per_latent;
    description.latent_channels = directory_.latent_channels;
    description.max_clip_skip = directory_.max_clip_skip;
    description.vae_tiling = spec_.vae_tiling;
    description.vae_tile_px =
        spec_.vae_tile_px > 0 ? spec_.vae_tile_px : directory_.vae_sample_size_px;
    description.force_zeros_for_empty_prompt = directory_.force_zeros_for_empty_prompt;
    description.components = components_;
    return description;
  }

  const ModelSpec spec_;
  const ModelDirectory directory_;
  const ComputeDtypes dtypes_;
  const std::function<void(const LoadProgress&)>& progress_;
  int64_t bytes_total_ = 0;
  int64_t bytes_done_ = 0;
  std::vector<ComponentDescription> components_;
};

}  // namespace

Result<std::unique_ptr<DiffusionModel>> LoadSdxlModel(
    const ModelSpec& spec, const std::string& device,
    const std::function<void(const LoadProgress&)>& progress) {
  if (device != "cpu") {
    return Status(StatusCode::kUnimplemented, "DEVICE_UNAVAILABLE",
                  device +
                      " is not available in this build: it computes on the CPU only; use "
                      "device = \"cpu\" or \"auto\"");
  }
  TF_ASSIGN_OR_RETURN(ModelDirectory directory, ReadModelDirectory(spec.path));
  // A scheduler that cannot be sampled is refused here, not at the first request.
  TF_RETURN_IF_ERROR(MakeSampler(SamplerNames().front(), directory.scheduler, 1).status());
  if (spec.vae_tile_px % directory.pixels_per_latent != 0) {
    return InvalidArgument("vae_tile_px must be a multiple of " +
                           std::to_string(directory.pixels_per_latent));
  }
  TF_ASSIGN_OR_RETURN(const ComputeDtypes dtypes,
                      ResolveComputeDtype(directory, spec.compute_dtype, CpuHasBf16()));
  return SdxlLoader(spec, std::move(directory), dtypes, progress).Load();
}

std::vector<float> LatentsOf(const Sampling& sampling) {
  const at::Tensor latents = static_cast<const SdxlSampling&>(sampling).latents().contiguous();
  const float* const values = latents.const_data_ptr<float>();
  return {values, values + latents.numel()};
}

}  // namespace tightfit
