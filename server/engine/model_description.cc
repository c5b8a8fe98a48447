#include "server/engine/model_description.h"

#include <algorithm>

namespace tightfit {

int32_t VaeTilePx(const ModelDescription& model, int32_t width_px, int32_t height_px) {
  if (model.vae_tile_px <= 0 || std::max(width_px, height_px) <= model.vae_tile_px) return 0;
  if (model.vae_tiling == "always") return model.vae_tile_px;
  const bool is_large = int64_t{width_px} * height_px > kMaxUntiledAreaPx;
  return model.vae_tiling == "auto" && is_large ? model.vae_tile_px : 0;
}

}  // namespace tightfit
