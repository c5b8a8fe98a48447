// SdxlPipeline::MeasureMemory: what requests take, from six small ones.
#include "server/memory/memory_accounts.h"
#include "server/pipeline/sdxl_pipeline.h"

#include <algorithm>
#include <optional>
#include <span>

namespace tightfit {
namespace {

// Sides of the measured latents. At the two smaller ones the largest layers' weights count for
// most; at the two larger ones the layers of the largest pictures, and beyond all grows with the
// area.
constexpr int32_t kTiny = 8;
constexpr int32_t kSmall = 16;
struct LargeSides {
  int32_t middle;
  int32_t large;
};
// Kernels change their ways where a layer's input gets large; networks of few channels get there
// later, and cost next to nothing.
constexpr int64_t kManyParameters = 200'000'000;
constexpr LargeSides kSidesOfWideNetworks = {24, 40};
constexpr LargeSides kSidesOfNarrowNetworks = {40, 64};

constexpr double Area(int32_t side) { return static_cast<double>(side) * side; }

// Latents that samplers keep from step to step beyond those that euler has; for one row of two.
constexpr double kKeptLatents = 4.0 / 2.0;

// Kernels for 16 bits choose their temporaries by size: peaks lie up to a tenth above the lines.
constexpr double kMarginIn16Bits = 1.12;

// Bytes of tensors at certain moments of one request, over those before it.
struct Measurement {
  double encode_peak = 0.0;
  double state = 0.0;
  double denoise_peak = 0.0;
  double decode_peak = 0.0;  // over `state`
};

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

Result<Measurement> Measure(SdxlPipeline& pipeline, int32_t side, int32_t image_count,
                            bool decodes) {
  const int32_t side_px = side * pipeline.description().pixels_per_latent;
  GenerationParameters parameters;
  parameters.prompt = "a";
  parameters.negative_prompt = "b";
  parameters.width_px = parameters.height_px = side_px;
  parameters.step_count = 1;
  parameters.guidance_scale = 2.0f;
  parameters.sampler = "euler";
  parameters.image_count = image_count;
  Measurement measured;
  Peak peak;
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<Sampling> sampling, pipeline.Begin(parameters));
  measured.encode_peak = peak.Take();
  measured.state = peak.now();
  Sampling* const member = sampling.get();
  TF_RETURN_IF_ERROR(pipeline.Step(std::span(&member, 1)));
  measured.denoise_peak = peak.Take();
  if (!decodes) return measured;
  // Weights of a random or broken model may give no picture; what decoding takes shows all the
  // same.
  static_cast<void>(pipeline.DecodeNext(*sampling).status());
  measured.decode_peak = peak.Take() - measured.state;
  return measured;
}

// The line through the values at two sides, each with two rows.
CallMemory LineThrough(double row_bytes, int32_t small_side, double small, int32_t large_side,
                       double large) {
  CallMemory memory{.row_bytes = row_bytes};
  memory.latent_bytes =
      std::max((large - small) / (2.0 * (Area(large_side) - Area(small_side))), 0.0);
  memory.fixed_bytes = large - 2.0 * (row_bytes + memory.latent_bytes * Area(large_side));
  return memory;
}

// What a row takes whatever its size: `once` with two rows and `twice` with four at one side,
// `other` with two rows at another one.
double RowBytes(int32_t side, double once, double twice, int32_t other_side, double other) {
  const double latent_bytes =
      std::max((other - once) / (2.0 * (Area(other_side) - Area(side))), 0.0);
  return std::max((twice - once) / 2.0 - latent_bytes * Area(side), 0.0);
}

}  // namespace

Status SdxlPipeline::MeasureMemory() {
  int64_t parameter_count = 0;
  for (const ComponentDescription& component : parts_.description.components) {
    parameter_count += component.parameter_count;
  }
  const auto [middle_side, large_side] =
      parameter_count > kManyParameters ? kSidesOfWideNetworks : kSidesOfNarrowNetworks;
  TF_ASSIGN_OR_RETURN(const Measurement tiny, Measure(*this, kTiny, 1, /*decodes=*/false));
  TF_ASSIGN_OR_RETURN(const Measurement tiny_twice, Measure(*this, kTiny, 2, /*decodes=*/false));
  TF_ASSIGN_OR_RETURN(const Measurement small, Measure(*this, kSmall, 1, /*decodes=*/true));
  TF_ASSIGN_OR_RETURN(const Measurement middle, Measure(*this, middle_side, 1, /*decodes=*/true));
  TF_ASSIGN_OR_RETURN(const Measurement middle_twice,
                      Measure(*this, middle_side, 2, /*decodes=*/false));
  TF_ASSIGN_OR_RETURN(const Measurement large, Measure(*this, large_side, 1, /*decodes=*/false));
  const double kept = kKeptLatents * parts_.latent_channels * sizeof(float);
  ModelMemory& memory = parts_.description.memory;
  memory.encode_bytes = static_cast<int64_t>(std::max(tiny.encode_peak, small.encode_peak));
  memory.state = LineThrough(RowBytes(kTiny, tiny.state, tiny_twice.state, kSmall, small.state),
                             kTiny, tiny.state, kSmall, small.state);
  memory.denoise = {LineThrough(RowBytes(kTiny, tiny.denoise_peak, tiny_twice.denoise_peak, kSmall,
                                         small.denoise_peak),
                                kTiny, tiny.denoise_peak, kSmall, small.denoise_peak),
                    LineThrough(RowBytes(middle_side, middle.denoise_peak,
                                         middle_twice.denoise_peak, large_side, large.denoise_peak),
                                middle_side, middle.denoise_peak, large_side, large.denoise_peak)};
  memory.state->latent_bytes += kept;
  const double margin = parts_.unet.dtype == at::kFloat ? 1.0 : kMarginIn16Bits;
  for (CallMemory& call : memory.denoise) {
    call.latent_bytes += kept;
    for (double* const bytes : {&call.fixed_bytes, &call.row_bytes, &call.latent_bytes}) {
      *bytes *= margin;
    }
  }
  CallMemory decode;
  decode.latent_bytes =
      (middle.decode_peak - small.decode_peak) / (Area(middle_side) - Area(kSmall));
  decode.fixed_bytes = middle.decode_peak - decode.latent_bytes * Area(middle_side);
  memory.decode = decode;
  return OkStatus();
}

}  // namespace tightfit
