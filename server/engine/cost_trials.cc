#include "server/engine/cost_trials.h"

#include <algorithm>
#include <span>

namespace tightfit {
namespace {

// Sides of the measured latents, and the largest that is decoded too. Where images are small
// another layer takes most than where they are large, and kernels choose their ways by size; beyond
// the largest all grows with the area. Networks of few channels get there later, and cost next to
// nothing.
constexpr int32_t kTiny = 8;
constexpr int32_t kSidesOfWideNetworks[] = {kTiny, 16, 40};
constexpr int32_t kLargestDecodedOfWideNetworks = 16;
constexpr int32_t kSidesOfNarrowNetworks[] = {kTiny, 16, 24, 32, 40, 64, 96};
constexpr int32_t kLargestDecodedOfNarrowNetworks = 64;
// Of one row; beyond it two rows of half the size tell as much.
constexpr int32_t kLargestOfOneRow = 64;

// Lengths of strips whose other side every halving rounds up, as far as it can: of the strip that
// is one latent high, and of the next higher one. Of wide networks there are none: until the area
// decides they would take minutes, and their usual sizes round nothing up.
constexpr int32_t kMostHalvingsOfStrips = 3;
constexpr int32_t kLengthsOfLowStrips[] = {64, 256, 1024, 2048};
constexpr int32_t kLengthsOfHighStrips[] = {16, 64, 256, 512, 768};

constexpr int32_t kHeightsOfSlim[] = {16, 64, 192};
constexpr int32_t kHeightsOfSlimOfWideNetworks[] = {8, 24};

// Rows and chunks enough that what they take outweighs everything else. In wide networks keys and
// values of a few do, and those of many would take minutes.
struct ImagesAndChunks {
  int32_t images;
  int32_t chunks;
};
constexpr ImagesAndChunks kMany = {.images = 8, .chunks = 16};
constexpr ImagesAndChunks kManyOfWideNetworks = {.images = 2, .chunks = 4};
constexpr int32_t kManyHeight = 4;
constexpr int32_t kManyWidth = 8;

// Kernels for 16 bits choose their temporaries by size: the peaks of some small images of narrow
// networks lie above the lines.
constexpr int32_t kSmallSide = 32;
constexpr double kSmallMarginIn16Bits = 1.09;  // of all but the last two points of a line
constexpr double kSmallDecodeMarginIn16Bits = 1.12;
constexpr double kMarginIn16Bits = 1.01;

constexpr double Area(int32_t side) { return static_cast<double>(side) * side; }

void AddPoint(double latents, double bytes, CallMemory* call) {
  call->points.push_back({.latents = latents, .bytes = bytes});
}

double LastSlope(const CallMemory& call) {
  const CallMemory::Point& a = call.points[call.points.size() - 2];
  const CallMemory::Point& b = call.points.back();
  return (b.bytes - a.bytes) / (b.latents - a.latents);
}

class Measuring {
 public:
  Measuring(const CostedNetworks& networks, const RunTrial& run) : networks_(networks), run_(run) {
    costs_.kept_latent_bytes = networks.kept_latent_bytes;
  }

  Result<RequestCosts> All() {
    TF_RETURN_IF_ERROR(Squares());
    TF_RETURN_IF_ERROR(Strips());
    TF_RETURN_IF_ERROR(Slim());
    TF_RETURN_IF_ERROR(RowsAndChunks());
    TF_RETURN_IF_ERROR(ImageEncoder());
    return std::move(costs_);
  }

 private:
  double Margin(int64_t latents, double small_margin = kSmallMarginIn16Bits) const {
    if (!networks_.is_in_16_bits) return 1.0;
    const bool is_small = latents <= kSmallSide * kSmallSide && !networks_.is_wide;
    return is_small ? small_margin : kMarginIn16Bits;
  }

  std::span<const int32_t> Sides() const {
    return networks_.is_wide ? std::span<const int32_t>(kSidesOfWideNetworks)
                             : kSidesOfNarrowNetworks;
  }
  int32_t LargestDecoded() const {
    return networks_.is_wide ? kLargestDecodedOfWideNetworks : kLargestDecodedOfNarrowNetworks;
  }

  Status Squares() {
    const int32_t largest_decoded = LargestDecoded();
    for (const int32_t side : Sides()) {
      const double margin = Margin(int64_t{side} * side);
      if (side <= kLargestOfOneRow) {
        TF_ASSIGN_OR_RETURN(const TrialCosts one,
                            run_({.height = side, .width = side, .guided = false}));
        AddPoint(Area(side), margin * one.denoise_peak, &costs_.denoise_one);
      }
      const bool decodes = side <= largest_decoded;
      TF_ASSIGN_OR_RETURN(const TrialCosts pair,
                          run_({.height = side, .width = side, .decodes = decodes}));
      AddPoint(2 * Area(side), margin * pair.denoise_peak, &costs_.denoise);
      if (decodes) {
        AddPoint(Area(side),
                 Margin(int64_t{side} * side, kSmallDecodeMarginIn16Bits) * pair.decode_peak,
                 &costs_.decode);
      }
      // The last and largest counts.
      costs_.denoise_latent_seconds = pair.denoise_seconds / (2 * Area(side));
      if (decodes) costs_.decode_latent_seconds = pair.decode_seconds / Area(side);
      if (side == kTiny) tiny_ = pair;
      costs_.row_latent_bytes =
          std::max(pair.state - tiny_.state, 0.0) / std::max(2 * (Area(side) - Area(kTiny)), 1.0);
    }
    costs_.row_bytes = tiny_.state / 2 - costs_.row_latent_bytes * Area(kTiny);
    return OkStatus();
  }

  Status Strips() {
    if (networks_.is_wide || networks_.unet_halvings == 0 ||
        networks_.unet_halvings > kMostHalvingsOfStrips) {
      return OkStatus();
    }
    TF_RETURN_IF_ERROR(Strip((1 << networks_.unet_halvings) + 1, kLengthsOfHighStrips));
    return Strip(1, kLengthsOfLowStrips);
  }

  Status Strip(int32_t height, std::span<const int32_t> lengths) {
    UnevenMemory strip{.unevenness = 1.0 / height, .call = {}};
    for (const int32_t length : lengths) {
      TF_ASSIGN_OR_RETURN(const TrialCosts pair, run_({.height = height, .width = length}));
      const int64_t latents = int64_t{height} * length;
      AddPoint(2.0 * static_cast<double>(latents), Margin(latents) * pair.denoise_peak,
               &strip.call);
    }
    // What grows less than even latents do is not decided by the area yet.
    if (LastSlope(strip.call) < LastSlope(costs_.denoise)) return OkStatus();
    costs_.denoise_uneven.push_back(std::move(strip));
    return OkStatus();
  }

  Status Slim() {
    costs_.slim_width = networks_.slim_width;
    if (networks_.slim_width == 0) return OkStatus();
    const std::span<const int32_t> heights =
        networks_.is_wide ? std::span<const int32_t>(kHeightsOfSlimOfWideNetworks) : kHeightsOfSlim;
    for (const int32_t height : heights) {
      TF_ASSIGN_OR_RETURN(const TrialCosts pair,
                          run_({.height = height, .width = networks_.slim_width}));
      AddPoint(2.0 * height * networks_.slim_width, Margin(0) * pair.denoise_peak,
               &costs_.denoise_slim);
    }
    return OkStatus();
  }

  Status RowsAndChunks() {
    costs_.encode_bytes = tiny_.encode_peak;
    TF_ASSIGN_OR_RETURN(const TrialCosts two,
                        run_({.height = kTiny, .width = kTiny, .chunk_count = 2}));
    costs_.encode_chunk_bytes = std::max(two.encode_peak - tiny_.encode_peak, 0.0);
    costs_.row_chunk_bytes = std::max(two.state - tiny_.state, 0.0) / 2;

    const ImagesAndChunks& most = networks_.is_wide ? kManyOfWideNetworks : kMany;
    const auto many = [&](int32_t chunk_count) {
      return run_({.height = kManyHeight,
                   .width = kManyWidth,
                   .image_count = most.images,
                   .chunk_count = chunk_count,
                   .has_negative_prompt = false});
    };
    TF_ASSIGN_OR_RETURN(const TrialCosts full, many(most.chunks));
    TF_ASSIGN_OR_RETURN(const TrialCosts half, many(most.chunks / 2));
    TF_ASSIGN_OR_RETURN(const TrialCosts single, many(1));
    const double rows = 2.0 * most.images;
    const double latents = rows * kManyHeight * kManyWidth;
    const double margin = networks_.is_in_16_bits ? kMarginIn16Bits : 1.0;
    costs_.join_row_chunk_bytes = full.encode_peak / (rows * most.chunks);
    const double row_chunk_bytes =
        std::max(margin * (full.denoise_peak - half.denoise_peak) / (rows * most.chunks / 2),
                 costs_.row_chunk_bytes);
    if (row_chunk_bytes > costs_.row_chunk_bytes) {
      // In 16 bits attention copies keys and values into another order where queries are many.
      const double copies = networks_.is_in_16_bits ? 2.0 : 1.0;
      costs_.cross_row_chunk_bytes =
          costs_.row_chunk_bytes + copies * (row_chunk_bytes - costs_.row_chunk_bytes);
      // Fewer latents take no more, and more of them at most in proportion.
      const double latent_bytes =
          std::max(margin * full.denoise_peak - rows * most.chunks * row_chunk_bytes, 0.0);
      AddPoint(latents, latent_bytes, &costs_.cross);
      AddPoint(2 * latents, 2 * latent_bytes, &costs_.cross);
    }

    // Where the prompt takes most already, it tells nothing of other layers.
    costs_.denoise_row_bytes = costs_.row_bytes;
    const double by_prompt = rows * row_chunk_bytes + costs_.cross.BytesAt(latents);
    if (single.denoise_peak > by_prompt) {
      costs_.denoise_row_bytes =
          std::max((margin * single.denoise_peak - costs_.denoise.BytesAt(latents)) / (rows - 2),
                   costs_.row_bytes);
    }
    return OkStatus();
  }

  Status ImageEncoder() {
    if (!networks_.has_image_encoder) return OkStatus();
    for (const int32_t side : Sides()) {
      if (side > LargestDecoded()) break;
      TF_ASSIGN_OR_RETURN(const TrialCosts encoded,
                          run_({.height = side, .width = side, .encodes_image = true}));
      AddPoint(Area(side), encoded.encode_image_peak, &costs_.encode_image);
      costs_.encode_image_latent_seconds = encoded.encode_image_seconds / Area(side);
    }
    return OkStatus();
  }

  const CostedNetworks& networks_;
  const RunTrial& run_;
  RequestCosts costs_;
  TrialCosts tiny_;  // of two rows
};

}  // namespace

Result<RequestCosts> MeasureRequestCosts(const CostedNetworks& networks, const RunTrial& run) {
  return Measuring(networks, run).All();
}

}  // namespace tightfit
