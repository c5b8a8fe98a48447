#include "server/engine/diffusion_model.h"

#include <algorithm>
#include <vector>

namespace tightfit {
Status StepOnce(DiffusionModel& model, std::span<Sampling* const> batch,
                std::span<const int32_t> steps_before) {
  std::vector<Sampling*> waiting;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (batch[i]->steps_done() == steps_before[i]) waiting.push_back(batch[i]);
  }
  return waiting.empty() ? OkStatus() : model.Step(waiting);
}

int32_t VaeTilePx(const ModelDescription& model, int32_t width_px, int32_t height_px) {
  if (model.vae_tile_px <= 0 || std::max(width_px, height_px) <= model.vae_tile_px) return 0;
  if (model.vae_tiling == "always") return model.vae_tile_px;
  const bool is_large = int64_t{width_px} * height_px > kMaxUntiledAreaPx;
  return model.vae_tiling == "auto" && is_large ? model.vae_tile_px : 0;
}

}  // namespace tightfit
