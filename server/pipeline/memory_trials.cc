// DiffusionPipeline::ProfileMemory: what requests take, from a few small ones.
#include "server/device/counting_allocator.h"
#include "server/device/run_torch.h"
#include "server/engine/cost_trials.h"
#include "server/memory/memory_accounts.h"
#include "server/pipeline/diffusion_pipeline.h"
#include "server/pipeline/narrow_latents.h"

#include <chrono>
#include <span>
#include <string>

namespace tightfit {
namespace {

constexpr int64_t kManyParameters = 200'000'000;

// Latents that samplers keep from step to step beyond those that euler has.
constexpr double kKeptLatents = 4.0;

// With a weight, which takes a copy more than a prompt without.
constexpr char kChunk[] = "(a:1.1)";

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class Peak {
 public:
  Peak() : before_(MemoryAccounts::Instance().total_bytes()) {
    MemoryAccounts::Instance().ResetTotalPeak();
  }
  double now() const {
    return static_cast<double>(MemoryAccounts::Instance().total_bytes() - before_);
  }
  // The largest value since it was last asked for.
  double Take() {
    const auto peak = static_cast<double>(MemoryAccounts::Instance().total_peak_bytes() - before_);
    MemoryAccounts::Instance().ResetTotalPeak();
    return peak;
  }

 private:
  const int64_t before_;
};

std::string PromptOf(int32_t chunk_count) {
  std::string prompt = kChunk;
  for (int32_t chunk = 1; chunk < chunk_count; ++chunk) prompt.append(" BREAK ").append(kChunk);
  return prompt;
}

Result<TrialCosts> Measure(DiffusionPipeline& pipeline, const CostTrial& trial) {
  GenerationParameters parameters;
  parameters.prompt = PromptOf(trial.chunk_count);
  if (trial.has_negative_prompt) parameters.negative_prompt.emplace(kChunk);
  parameters.height_px = trial.height * pipeline.description().pixels_per_latent;
  parameters.width_px = trial.width * pipeline.description().pixels_per_latent;
  parameters.step_count = 1;
  parameters.image_count = trial.image_count;
  parameters.guidance_scale = trial.guided ? 2.0f : 1.0f;
  parameters.sampler = "euler";
  TrialCosts measured;
  Peak peak;
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<Sampling> sampling, pipeline.Begin(parameters));
  measured.encode_peak = peak.Take();
  measured.state = peak.now();
  Sampling* const member = sampling.get();
  const auto before_step = std::chrono::steady_clock::now();
  TF_RETURN_IF_ERROR(pipeline.Step(std::span(&member, 1)));
  measured.denoise_seconds = SecondsSince(before_step);
  measured.denoise_peak = peak.Take();
  if (!trial.decodes) return measured;
  // Weights of a random or broken model may give no image; what decoding takes shows all the
  // same.
  const auto before_decode = std::chrono::steady_clock::now();
  static_cast<void>(pipeline.DecodeNext(*sampling).status());
  measured.decode_seconds = SecondsSince(before_decode);
  measured.decode_peak = peak.Take() - measured.state;
  return measured;
}

// Without its network's weights, which must be there.
Result<TrialCosts> MeasureEncoding(VaeEncoder& encoder, MemoryAccount* activations,
                                   int32_t height_px, int32_t width_px) {
  RgbImage image{.width_px = width_px, .height_px = height_px, .rgb = {}};
  image.rgb.assign(size_t{3} * height_px * width_px, 128);
  TrialCosts measured;
  Peak peak;
  const auto before = std::chrono::steady_clock::now();
  // Weights of a broken model may give nothing finite; what that takes shows all the same.
  TF_RETURN_IF_ERROR(RunTorch("encode an image", [&] {
    const ScopedMemoryAccount account(activations);
    static_cast<void>(encoder.Encode(image).status());
    return OkStatus();
  }));
  measured.encode_image_seconds = SecondsSince(before);
  measured.encode_image_peak = peak.Take();
  ReleaseCachedBlocks();
  return measured;
}

int64_t ParameterCount(const ModelDescription& description) {
  int64_t count = 0;
  for (const ComponentDescription& component : description.components) {
    count += component.parameter_count;
  }
  return count;
}

}  // namespace

Result<RequestCosts> DiffusionPipeline::ProfileMemory(const std::function<bool()>& on_image) {
  const Network& network = parts_.denoiser.network();
  const bool has_slim = network.device.is_cpu() && network.dtype == at::kBFloat16;
  const CostedNetworks networks{
      .is_wide = ParameterCount(parts_.description) > kManyParameters,
      .is_in_16_bits = network.dtype != at::kFloat,
      .has_image_encoder = parts_.codec.encoder.has_value(),
      .unet_halvings = parts_.description.memory.unet_halvings,
      .slim_width = has_slim ? kWidestWithoutOneDnn : 0,
      .kept_latent_bytes = kKeptLatents * parts_.codec.channels * sizeof(float)};
  auto costs = MeasureRequestCosts(networks, [&](const CostTrial& trial) -> Result<TrialCosts> {
    if (!on_image()) return LoadStopped();
    if (!trial.encodes_image) return Measure(*this, trial);
    TF_RETURN_IF_ERROR(parts_.codec.encoder->Prepare());
    const int32_t multiple = description().pixels_per_latent;
    MemoryAccount* const activations = MemoryAccounts::Instance().Get(
        description().name, kVaeEncoder, MemoryPurpose::kActivations);
    return MeasureEncoding(*parts_.codec.encoder, activations, trial.height * multiple,
                           trial.width * multiple);
  });
  // Requests without images have no use for it.
  if (parts_.codec.encoder.has_value()) parts_.codec.encoder->Release();
  return costs;
}

}  // namespace tightfit
