#include "server/engine/diffusion_model.h"

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

}  // namespace tightfit
