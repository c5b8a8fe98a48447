// SdxlPipeline::MeasureCosts: what requests take, from a dozen small ones.
#include "server/memory/memory_accounts.h"
#include "server/pipeline/sdxl_pipeline.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <string>

namespace tightfit {
namespace {

// Sides of the measured latents, and the largest that is decoded too. Where pictures are small
// another layer takes most than where they are large, and kernels choose their ways by size; beyond
// the largest all grows with the area. Networks of few channels get there later, and cost next to
// nothing.
constexpr int32_t kTiny = 8;
constexpr int32_t kSidesOfWideNetworks[] = {kTiny, 16, 40};
constexpr int32_t kLargestDecodedOfWideNetworks = 16;
constexpr int32_t kSidesOfNarrowNetworks[] = {kTiny, 16, 24, 32, 40, 64, 96};
constexpr int32_t kLargestDecodedOfNarrowNetworks = 64;
constexpr int64_t kManyParameters = 200'000'000;

// Latents that samplers keep from step to step beyond those that euler has.
constexpr double kKeptLatents = 4.0;

// Kernels for 16 bits choose their temporaries by size: the peaks of some small pictures of narrow
// networks lie above the lines.
constexpr int32_t kSmallSide = 32;
constexpr double kSmallMarginIn16Bits = 1.09;  // of all but the last two points of a line
constexpr double kMarginIn16Bits = 1.01;

constexpr double Area(int32_t side) { return static_cast<double>(side) * side; }

struct Trial {
  int32_t side = 0;
  int32_t rows = 0;  // 1, or 2 with guidance
  bool decodes = false;
  std::string prompt = "a";
};

// Bytes of tensors at certain moments of one request, over those before it.
struct Measurement {
  double encode_peak = 0.0;
  double state = 0.0;
  double denoise_peak = 0.0;
  double decode_peak = 0.0;  // over `state`
  double denoise_seconds = 0.0;
  double decode_seconds = 0.0;
};

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

Result<Measurement> Measure(SdxlPipeline& pipeline, const Trial& trial) {
  GenerationParameters parameters;
  parameters.prompt = trial.prompt;
  parameters.negative_prompt.emplace("b");
  parameters.width_px = parameters.height_px =
      trial.side * pipeline.description().pixels_per_latent;
  parameters.step_count = 1;
  parameters.guidance_scale = trial.rows == 1 ? 1.0f : 2.0f;
  parameters.sampler = "euler";
  Measurement measured;
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
  // Weights of a random or broken model may give no picture; what decoding takes shows all the
  // same.
  const auto before_decode = std::chrono::steady_clock::now();
  static_cast<void>(pipeline.DecodeNext(*sampling).status());
  measured.decode_seconds = SecondsSince(before_decode);
  measured.decode_peak = peak.Take() - measured.state;
  return measured;
}

void AddPoint(double latents, double bytes, CallMemory* call) {
  call->points.push_back({.latents = latents, .bytes = bytes});
}

int64_t ParameterCount(const ModelDescription& description) {
  int64_t count = 0;
  for (const ComponentDescription& component : description.components) {
    count += component.parameter_count;
  }
  return count;
}

}  // namespace

Result<RequestCosts> SdxlPipeline::MeasureCosts(const std::function<bool()>& on_picture) {
  const auto measure = [&](const Trial& trial) -> Result<Measurement> {
    if (!on_picture()) return LoadStopped();
    return Measure(*this, trial);
  };
  RequestCosts costs;
  costs.kept_latent_bytes = kKeptLatents * parts_.latent_channels * sizeof(float);

  const bool is_wide = ParameterCount(parts_.description) > kManyParameters;
  const std::span<const int32_t> sides =
      is_wide ? std::span<const int32_t>(kSidesOfWideNetworks) : kSidesOfNarrowNetworks;
  const int32_t largest_decoded =
      is_wide ? kLargestDecodedOfWideNetworks : kLargestDecodedOfNarrowNetworks;
  const bool is_in_16_bits = parts_.unet.dtype != at::kFloat;
  const auto margin = [&](int32_t side) {
    if (!is_in_16_bits) return 1.0;
    return side <= kSmallSide && !is_wide ? kSmallMarginIn16Bits : kMarginIn16Bits;
  };
  Measurement tiny;
  for (const int32_t side : sides) {
    TF_ASSIGN_OR_RETURN(const Measurement one, measure({.side = side, .rows = 1}));
    AddPoint(Area(side), margin(side) * one.denoise_peak, &costs.denoise_one);
    const bool decodes = side <= largest_decoded;
    TF_ASSIGN_OR_RETURN(const Measurement pair,
                        measure({.side = side, .rows = 2, .decodes = decodes}));
    AddPoint(2 * Area(side), margin(side) * pair.denoise_peak, &costs.denoise);
    if (decodes) AddPoint(Area(side), margin(side) * pair.decode_peak, &costs.decode);
    // The last and largest counts.
    costs.denoise_latent_seconds = pair.denoise_seconds / (2 * Area(side));
    if (decodes) costs.decode_latent_seconds = pair.decode_seconds / Area(side);
    if (side == kTiny) tiny = pair;
    costs.row_latent_bytes =
        std::max(pair.state - tiny.state, 0.0) / std::max(2 * (Area(side) - Area(kTiny)), 1.0);
  }
  costs.row_bytes = tiny.state / 2 - costs.row_latent_bytes * Area(kTiny);

  costs.encode_bytes = tiny.encode_peak;
  TF_ASSIGN_OR_RETURN(const Measurement chunks,
                      measure({.side = kTiny, .rows = 2, .prompt = "a BREAK a"}));
  costs.encode_chunk_bytes = std::max(chunks.encode_peak - tiny.encode_peak, 0.0);
  costs.row_chunk_bytes =
      std::max({chunks.state - tiny.state, chunks.denoise_peak - tiny.denoise_peak, 0.0}) / 2;
  return costs;
}

}  // namespace tightfit
