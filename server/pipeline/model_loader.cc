#include "server/pipeline/model_loader.h"

#include "server/base/is_among.h"
#include "server/memory/memory_accounts.h"
#include "server/model/model_directory.h"
#include "server/pipeline/clip_tokenizer.h"
#include "server/pipeline/conditioner.h"
#include "server/pipeline/denoiser.h"
#include "server/pipeline/diffusion_pipeline.h"
#include "server/pipeline/diffusion_sampling.h"
#include "server/pipeline/prompt_chunks.h"
#include "server/pipeline/servable_directory.h"
#include "server/weights/component.h"
#include "server/weights/weight_store.h"

#include <chrono>
#include <filesystem>
#include <utility>

namespace tightfit {
namespace {

constexpr int64_t kMaxTokenizerFileBytes = 64 << 20;

// Checks every listed file of a tokenizer before any of them is parsed.
Result<std::shared_ptr<const ClipTokenizer>> LoadTokenizer(DeviceRuntime& runtime,
                                                           const ModelDirectory& directory,
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
  std::string digests;
  for (const auto& [file_name, file] : found->second) {
    TF_RETURN_IF_ERROR(ReadListedFile(directory.path, file, kMaxTokenizerFileBytes).status());
    digests += file_name + " " + file.sha256 + "\n";
  }
  return runtime.Tokenizer(digests, [&] {
    const std::filesystem::path vocabulary = directory.PathOf(found->second.at(vocabulary_name));
    return ClipTokenizer::Load(vocabulary.parent_path().string());
  });
}

// Loads the components of one model, one after the other, and tells how far it is.
class PipelineLoader {
 public:
  PipelineLoader(DeviceRuntime& runtime, const ModelSpec& spec, ServableDirectory servable,
                 const LoadCallback& progress)
      : runtime_(runtime),
        spec_(spec),
        servable_(std::move(servable)),
        directory_(servable_.directory),
        dtypes_(servable_.dtypes),
        progress_(progress) {
    for (const auto& [name, component] : directory_.components) {
      if (name != kVaeEncoder) bytes_total_ += component.weights.bytes;
    }
  }

  Result<std::unique_ptr<DiffusionModel>> Load() {
    const auto start = std::chrono::steady_clock::now();
    std::vector<TextEncoder::Encoder> encoders;
    for (const ManifestTextEncoder& entry : directory_.text_encoders) {
      TF_ASSIGN_OR_RETURN(TextEncoder::Encoder encoder, LoadTextEncoder(entry));
      encoders.push_back(std::move(encoder));
    }
    TF_ASSIGN_OR_RETURN(Network vae, LoadNetwork("vae"));
    VaeDecoder::Load load_fp32_vae;
    if (dtypes_.vae != at::kFloat) load_fp32_vae = LoadOnDemand("vae");
    std::optional<VaeEncoder> vae_encoder;
    if (directory_.components.contains(kVaeEncoder)) {
      vae_encoder.emplace(LoadOnDemand(kVaeEncoder), directory_.vae_scaling_factor);
      // A load measures what it takes.
      TF_ASSIGN_OR_RETURN(std::string key, ContentKeyOf(directory_, OptionsOf(kVaeEncoder)));
      content_keys_.push_back(std::move(key));
    }
    TF_ASSIGN_OR_RETURN(Network unet, LoadNetwork("unet"));
    TF_ASSIGN_OR_RETURN(ModelDescription description, DescribeModel(spec_, servable_));
    description.components = components_;
    for (WeightGroup& group : description.memory.weights) group.bytes = WeightBytes(group);
    const ManifestComponent& denoiser = directory_.components.at("unet");
    const bool takes_pooled = IsAmong(kPooledInput, denoiser.inputs);
    TextEncoder text_encoder(std::move(encoders), takes_pooled);
    description.chunk_count = [chunker = text_encoder.chunker(),
                               force_zeros = description.force_zeros_for_empty_prompt](
                                  const GenerationParameters& parameters) {
      return Conditioner::ChunkCount(chunker, parameters, force_zeros);
    };
    const int32_t halving_count = description.memory.unet_halvings;
    auto pipeline = std::make_unique<DiffusionPipeline>(DiffusionPipeline::Parts{
        .description = std::move(description),
        .scheduler = directory_.scheduler,
        .conditioner =
            Conditioner(std::move(text_encoder),
                        {.takes_pooled = takes_pooled,
                         .time_ids = directory_.time_ids,
                         .force_zeros_for_empty_prompt = directory_.force_zeros_for_empty_prompt,
                         .guidance_embedding_size = directory_.guidance_embedding_size}),
        .denoiser = Denoiser(std::move(unet), denoiser.inputs, halving_count),
        .codec = {.decoder = VaeDecoder(std::move(vae), directory_.vae_scaling_factor,
                                        std::move(load_fp32_vae)),
                  .encoder = std::move(vae_encoder),
                  .channels = directory_.latent_channels,
                  .pixels_per_latent = directory_.pixels_per_latent}});
    TF_RETURN_IF_ERROR(SetCosts(*pipeline));
    pipeline->SetLoadTime(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return std::unique_ptr<DiffusionModel>(std::move(pipeline));
  }

 private:
  Status SetCosts(DiffusionPipeline& pipeline) {
    TF_ASSIGN_OR_RETURN(RequestCosts costs, runtime_.Costs(content_keys_, [&] {
      // The first calls on a device take long; the watchdog sees that they go on.
      return pipeline.ProfileMemory([this] { return Report("warm-up", 0); });
    }));
    pipeline.SetCosts(std::move(costs));
    return OkStatus();
  }

  // What weights take, by the allocator.
  static int64_t WeightBytes(const WeightGroup& group) {
    return MemoryAccounts::Instance()
        .Get(group.content_key, group.component, MemoryPurpose::kWeights)
        ->current_bytes();
  }

  Result<TextEncoder::Encoder> LoadTextEncoder(const ManifestTextEncoder& entry) {
    TF_ASSIGN_OR_RETURN(std::shared_ptr<const ClipTokenizer> tokenizer,
                        LoadTokenizer(runtime_, directory_, entry.tokenizer));
    TF_ASSIGN_OR_RETURN(Network network, LoadNetwork(entry.component));
    return TextEncoder::Encoder{
        .chunk =
            [tokenizer](std::string_view prompt, const PromptReading& reading) {
              return ChunkPrompt(prompt, reading, *tokenizer);
            },
        .network = std::move(network)};
  }

  ComponentOptions OptionsOf(const std::string& name) const {
    return ComponentOptionsOf(spec_, servable_, name);
  }

  // Runs the component for `model`, which what it allocates meanwhile is charged to.
  static Network NetworkOf(const std::shared_ptr<Component>& component, const std::string& model) {
    MemoryAccount* const activations = MemoryAccounts::Instance().Get(
        model, component->description().name, MemoryPurpose::kActivations);
    const Component& described = *component;
    return Network{.run =
                       [component, activations](std::vector<c10::IValue> inputs) {
                         const ScopedMemoryAccount account(activations);
                         return component->Run(std::move(inputs));
                       },
                   .keep_products =
                       [component, activations](const at::Tensor& text) {
                         const ScopedMemoryAccount account(activations);
                         return component->KeepTextProducts(text);
                       },
                   .dtype = described.dtype(),
                   .device = described.device()};
  }

  // Loads a component in fp32, unpacked, for this model alone.
  std::function<Result<Network>()> LoadOnDemand(const std::string& name) const {
    ComponentOptions options = OptionsOf(name);
    options.dtype = at::kFloat;
    options.format = kUnpackedFormat;
    options.owner = spec_.name;
    return [directory = directory_, options]() -> Result<Network> {
      TF_ASSIGN_OR_RETURN(std::unique_ptr<Component> loaded,
                          Component::Load(directory, options, {}));
      return NetworkOf(std::move(loaded), options.owner);
    };
  }

  // Whether the load goes on.
  bool Report(const std::string& component, int64_t bytes) {
    bytes_done_ += bytes;
    return !progress_ || progress_({.component = component,
                                    .bytes_done = std::min(bytes_done_, bytes_total_),
                                    .bytes_total = bytes_total_});
  }

  Result<Network> LoadNetwork(const std::string& name) {
    ComponentOptions options = OptionsOf(name);
    TF_ASSIGN_OR_RETURN(options.owner, ContentKeyOf(directory_, options));
    TF_ASSIGN_OR_RETURN(std::shared_ptr<Component> component,
                        runtime_.weights().Acquire(directory_, options, [&](int64_t bytes) {
                          return Report(name, bytes);
                        }));
    components_.push_back(component->description());
    content_keys_.push_back(options.owner);
    return NetworkOf(component, spec_.name);
  }

  DeviceRuntime& runtime_;
  const ModelSpec spec_;
  const ServableDirectory servable_;
  const ModelDirectory& directory_;
  const ComputeDtypes dtypes_;
  const LoadCallback& progress_;
  int64_t bytes_total_ = 0;
  int64_t bytes_done_ = 0;
  std::vector<ComponentDescription> components_;
  std::vector<std::string> content_keys_;  // of components_, and of the VAE's encoder
};

}  // namespace

Result<std::unique_ptr<DiffusionModel>> LoadDiffusionModel(DeviceRuntime& runtime,
                                                           const ModelSpec& spec,
                                                           const LoadCallback& progress) {
  TF_ASSIGN_OR_RETURN(ServableDirectory servable, OpenServableDirectory(spec, runtime.device()));
  return PipelineLoader(runtime, spec, std::move(servable), progress).Load();
}

Result<ModelDescription> DescribeDiffusionModel(const ModelSpec& spec, const std::string& device) {
  TF_ASSIGN_OR_RETURN(const ServableDirectory servable, OpenServableDirectory(spec, device));
  TF_RETURN_IF_ERROR(CheckFilesAreThere(spec, servable));
  return DescribeModel(spec, servable);
}

std::vector<float> LatentsOf(const Sampling& sampling) {
  const at::Tensor latents =
      static_cast<const DiffusionSampling&>(sampling).latents().to(at::kCPU).contiguous();
  const float* const values = latents.const_data_ptr<float>();
  return {values, values + latents.numel()};
}

}  // namespace tightfit
