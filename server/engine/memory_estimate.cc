#include "server/engine/memory_estimate.h"

#include <algorithm>
#include <cmath>

namespace tightfit {
namespace {

int64_t BytesOf(const CallMemory& call, int64_t rows, int64_t height, int64_t width) {
  const double latents = static_cast<double>(height) * static_cast<double>(width);
  return static_cast<int64_t>(
      std::ceil(call.fixed_bytes +
                static_cast<double>(rows) * (call.row_bytes + call.latent_bytes * latents)));
}

}  // namespace

RequestMemory EstimateRequest(const ModelDescription& model,
                              const GenerationParameters& parameters) {
  RequestMemory memory;
  const CallMemory nothing;
  memory.is_measured = model.memory.is_measured();
  const int64_t multiple = std::max(model.pixels_per_latent, 1);
  const int64_t height = parameters.height_px / multiple;
  const int64_t width = parameters.width_px / multiple;
  const int64_t rows = int64_t{parameters.image_count} * (parameters.guidance_scale > 1.0f ? 2 : 1);
  memory.denoise_bytes = model.memory.encode_bytes;
  for (const CallMemory& call : model.memory.denoise) {
    memory.denoise_bytes = std::max(memory.denoise_bytes, BytesOf(call, rows, height, width));
  }
  if (parameters.output == OutputKind::kLatents) return memory;
  const int64_t tile_px = VaeTilePx(model, parameters.width_px, parameters.height_px);
  int64_t decoded_height = height;
  int64_t decoded_width = width;
  if (tile_px > 0) {
    decoded_height = std::min(height, tile_px / multiple);
    decoded_width = std::min(width, tile_px / multiple);
  }
  memory.decode_bytes =
      BytesOf(model.memory.decode.value_or(nothing), 1, decoded_height, decoded_width) +
      BytesOf(model.memory.state.value_or(nothing), rows, height, width);
  if (tile_px > 0) {
    // The picture that is put together, and the tiles of two rows, in fp32.
    constexpr int64_t kChannelBytes = 3 * sizeof(float);
    memory.decode_bytes +=
        kChannelBytes * parameters.width_px * (parameters.height_px + 2 * tile_px);
  }
  return memory;
}

}  // namespace tightfit
