#include "server/engine/memory_estimate.h"

#include "server/engine/guarded_call.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace tightfit {
namespace {

double LineAt(const CallMemory::Point& a, const CallMemory::Point& b, double latents) {
  return a.bytes + (b.bytes - a.bytes) * (latents - a.latents) / (b.latents - a.latents);
}

int64_t RoundedUp(double bytes) { return static_cast<int64_t>(std::ceil(bytes)); }

constexpr double kUnmeasuredShare = 0.1;

// What drawing over an image takes beside text to image, in latents of every image: their
// distribution, a sample of it, noise, and what is made of them.
constexpr double kImageLatents = 8.0;

// Encoders put a row and a column of pixels beside the image before they halve it.
double PaddedArea(const GenerationParameters& parameters, double area) {
  return area * (1.0 + 1.0 / parameters.height_px) * (1.0 + 1.0 / parameters.width_px);
}

double RoundedUpTo(double side, double multiple) { return std::ceil(side / multiple) * multiple; }

// Of a call that sees so many uneven latents, between the measured unevennesses; nullopt beyond the
// last. What a layer takes is a straight line in how large its levels are, and the layer that takes
// most decides: chords lie above the largest of straight lines.
std::optional<double> UnevenBytes(const RequestCosts& costs, double unevenness, double latents) {
  double before = 0.0;
  double before_bytes = costs.denoise.BytesAt(latents);
  for (const UnevenMemory& measured : costs.denoise_uneven) {
    const double bytes = std::max(measured.call.BytesAt(latents), before_bytes);
    if (unevenness <= measured.unevenness) {
      return before_bytes +
             (bytes - before_bytes) * (unevenness - before) / (measured.unevenness - before);
    }
    before = measured.unevenness;
    before_bytes = bytes;
  }
  return unevenness > before ? std::nullopt : std::optional(before_bytes);
}

// While the UNet sees `rows` of these latents, of which no more than two hold anything, with
// prompts of one chunk.
double UnetBytes(const ModelDescription& model, int32_t height, int32_t width, double rows) {
  const RequestCosts& costs = *model.memory.costs;
  const int32_t halvings = model.memory.unet_halvings;
  const double multiple = std::exp2(halvings);
  const double latents = rows * height * width;
  const double rounded = rows * RoundedUpTo(height, multiple) * RoundedUpTo(width, multiple);
  double bytes = costs.denoise.BytesAt(rounded);
  if (const auto uneven = UnevenBytes(costs, UnevennessOf(height, width, halvings), latents)) {
    // Part of what lies between, for layers that take over beyond what was measured.
    bytes = std::min(bytes, *uneven + kUnmeasuredShare * std::max(bytes - *uneven, 0.0));
  }
  if (rows < 2 && !costs.denoise_one.points.empty()) {
    const CallMemory::Point& least = costs.denoise_one.points.front();
    // A single row of few values takes other kernels, one layer after the other the larger it is:
    // what was measured at two sizes tells little of those between, but two rows of half the size
    // take all those of the larger ones.
    const double even = costs.denoise.BytesAt(latents);
    const double share = even > 0.0 ? bytes / even : 1.0;
    bytes = rounded <= least.latents ? least.bytes
                                     : std::max(bytes, share * costs.denoise_one.BytesAt(latents));
  }
  if (width <= costs.slim_width) {
    const double slim = rows * costs.slim_width * RoundedUpTo(height, multiple);
    bytes = std::max(bytes, costs.denoise_slim.BytesAt(slim));
  }
  return bytes;
}

double RowsOf(const GenerationParameters& parameters) {
  return static_cast<double>(parameters.image_count) * (UsesGuidance(parameters) ? 2 : 1);
}

double ChunksOf(const ModelDescription& model, const GenerationParameters& parameters) {
  return model.chunk_count ? model.chunk_count(parameters) : 1;
}

double TextProductBytes(const ModelDescription& model, const GenerationParameters& parameters) {
  return RowsOf(parameters) * ChunksOf(model, parameters) *
         static_cast<double>(model.memory.text_product_bytes);
}

}  // namespace

bool KeepsTextProducts(const ModelDescription& model, const GenerationParameters& parameters) {
  if (model.memory.text_product_bytes == 0) return false;
  if (model.memory.streams_text) return true;
  return model.memory.costs.has_value() &&
         TextProductBytes(model, parameters) <= static_cast<double>(kMostKeptTextBytes);
}

// Which layer takes most changes with the size, once in a while: between two points the lines of
// its neighbours meet in a kink below their chord.
double CallMemory::BytesAt(double latents) const {
  if (points.empty()) return 0.0;
  if (points.size() == 1 || latents <= points.front().latents) return points.front().bytes;
  const size_t last = points.size() - 1;
  size_t right = 1;
  while (right < last && points[right].latents < latents) ++right;
  const size_t left = right - 1;
  const double chord = LineAt(points[left], points[right], latents);
  if (latents >= points[last].latents || left == 0 || right == last) return chord;
  const double from_left = LineAt(points[left - 1], points[left], latents);
  const double from_right = LineAt(points[right], points[right + 1], latents);
  return std::min(chord, std::max(from_left, from_right));
}

double UnevennessOf(int32_t height, int32_t width, int32_t halvings) {
  const double latents = static_cast<double>(height) * width;
  double unevenness = 0.0;
  for (int32_t level = 1; level <= halvings; ++level) {
    const double multiple = std::exp2(level);
    const double level_latents = RoundedUpTo(height, multiple) * RoundedUpTo(width, multiple);
    unevenness = std::max(unevenness, (level_latents / latents - 1.0) / (multiple - 1.0));
  }
  return unevenness;
}

RequestMemory EstimateRequest(const ModelDescription& model, const GenerationParameters& parameters,
                              VaeUse vae) {
  RequestMemory memory;
  if (!model.memory.costs.has_value()) return memory;
  const RequestCosts& costs = *model.memory.costs;
  memory.is_measured = true;
  const int32_t multiple = std::max(model.pixels_per_latent, 1);
  const int32_t height = parameters.height_px / multiple;
  const int32_t width = parameters.width_px / multiple;
  const double area = static_cast<double>(height) * width;
  const double images = parameters.image_count;
  const double rows = RowsOf(parameters);
  const double more_chunks = ChunksOf(model, parameters) - 1;

  const double chunk_bytes = rows * more_chunks * costs.row_chunk_bytes;
  const double self_bytes =
      UnetBytes(model, height, width, rows) +
      std::max(rows - 2, 0.0) * std::max(costs.denoise_row_bytes, costs.row_bytes) + chunk_bytes;
  const double multiple_of_all = std::exp2(model.memory.unet_halvings);
  const double rounded = RoundedUpTo(height, multiple_of_all) * RoundedUpTo(width, multiple_of_all);
  const double cross_bytes =
      rows * (1 + more_chunks) * costs.cross_row_chunk_bytes + costs.cross.BytesAt(rows * rounded);
  // Beside other kernels keys and values of prompts may be there too.
  const double slim_bytes =
      width <= costs.slim_width
          ? self_bytes + rows * more_chunks * (costs.cross_row_chunk_bytes - costs.row_chunk_bytes)
          : 0.0;
  // Of streamed weights they are in what was measured.
  const double text_bytes = !model.memory.streams_text && KeepsTextProducts(model, parameters)
                                ? TextProductBytes(model, parameters)
                                : 0.0;
  const double denoise_bytes = std::max({self_bytes, cross_bytes, slim_bytes}) +
                               images * area * costs.kept_latent_bytes + text_bytes;
  const double encode_bytes = costs.encode_bytes + more_chunks * costs.encode_chunk_bytes +
                              rows * (1 + more_chunks) * costs.join_row_chunk_bytes;
  double image_bytes = 0.0;
  double encode_image_bytes = 0.0;
  if (parameters.init_image != nullptr) {
    image_bytes = kImageLatents * images * area * model.latent_channels * sizeof(float);
    encode_image_bytes = costs.encode_image.BytesAt(PaddedArea(parameters, area));
  }
  memory.denoise_bytes = RoundedUp(
      std::max({denoise_bytes + image_bytes, encode_bytes + image_bytes, encode_image_bytes}));
  if (parameters.output == OutputKind::kLatents) return memory;

  const int32_t tile_px = VaeTilePx(model, parameters.width_px, parameters.height_px);
  double decoded_area = area;
  double joined_bytes = 0.0;
  if (tile_px > 0) {
    const int32_t tile = tile_px / multiple;
    decoded_area = static_cast<double>(std::min(height, tile)) * std::min(width, tile);
    // The image that is put together, and the tiles of two rows, in fp32.
    constexpr double kPixelBytes = 3 * sizeof(float);
    joined_bytes = kPixelBytes * parameters.width_px * (parameters.height_px + 2 * tile_px);
  }
  const double state_bytes = rows * (costs.row_bytes + costs.row_latent_bytes * area) +
                             chunk_bytes + images * area * costs.kept_latent_bytes;
  const double network_bytes =
      costs.decode.BytesAt(decoded_area) * (vae == VaeUse::kFp32Fallback ? 2 : 1);
  memory.decode_bytes = RoundedUp(network_bytes + state_bytes + joined_bytes);
  return memory;
}

int64_t MissingWeightBytes(const ModelDescription& model, const GenerationParameters& parameters) {
  if (parameters.init_image == nullptr) return 0;
  const auto encoder = model.memory.on_demand.find(OnDemand::kVaeEncoder);
  if (encoder == model.memory.on_demand.end() || encoder->second.is_held) return 0;
  return encoder->second.bytes;
}

Result<int64_t> RequestBytes(const ModelDescription* model, const GenerationParameters& parameters,
                             VaeUse vae) {
  if (model == nullptr) return int64_t{0};
  return Guarded("the size of the request could not be told", [&]() -> Result<int64_t> {
    return EstimateRequest(*model, parameters, vae).peak_bytes();
  });
}

Result<int64_t> AdmissionBytes(const ModelDescription* model,
                               const GenerationParameters& parameters) {
  TF_ASSIGN_OR_RETURN(const int64_t bytes, RequestBytes(model, parameters));
  return model == nullptr ? bytes : bytes + MissingWeightBytes(*model, parameters);
}

}  // namespace tightfit
