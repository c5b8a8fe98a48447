#include "server/engine/never_served.h"

#include "server/base/mib_text.h"

namespace tightfit {
namespace {

// The smallest side of an image that is a multiple of the model's latents, if a limit allows one.
std::optional<int64_t> SmallestSidePx(const ModelDescription& model, const Limits& limits) {
  const int64_t multiple = model.pixels_per_latent;
  if (multiple <= 0) return limits.min_side_px;
  const int64_t side = (limits.min_side_px + multiple - 1) / multiple * multiple;
  if (side > limits.max_side_px) return std::nullopt;
  return side;
}

}  // namespace

std::vector<std::string> NeverServed(const ModelDescription& model, const Limits& limits,
                                     std::optional<int64_t> memory_limit_bytes) {
  std::vector<std::string> reasons;
  const ModelMemory& memory = model.memory;
  const int64_t needed_bytes =
      memory.weight_bytes() + memory.load_scratch_bytes + memory.decode_scratch_bytes;
  if (memory_limit_bytes.has_value() && needed_bytes > *memory_limit_bytes) {
    reasons.push_back("the model needs " + MibText(needed_bytes) + ", and the server may use " +
                      MibText(*memory_limit_bytes) +
                      "; raise memory_limit_mib, or serve it in a smaller format");
  }
  const std::optional<int64_t> side = SmallestSidePx(model, limits);
  const std::string multiple = std::to_string(model.pixels_per_latent);
  if (!side.has_value()) {
    reasons.push_back("no side from limits.min_side_px, " + std::to_string(limits.min_side_px) +
                      ", to limits.max_side_px, " + std::to_string(limits.max_side_px) +
                      ", is a multiple of " + multiple + ", as the model's images need");
  } else if (*side * *side > limits.max_area_px || *side * *side > limits.max_pixel_steps) {
    const bool by_area = *side * *side > limits.max_area_px;
    reasons.push_back("the smallest image that the model can draw, " + std::to_string(*side) +
                      " x " + std::to_string(*side) + " px, is above limits." +
                      (by_area ? "max_area_px" : "max_pixel_steps"));
  }
  return reasons;
}

}  // namespace tightfit
