#include "server/pipeline/denoising_window.h"

#include "server/base/strength.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>

namespace tightfit {
namespace {

// The training timestep that a share leads to.
float Cutoff(float share, int32_t num_train_timesteps) {
  const double timesteps = num_train_timesteps;
  return static_cast<float>(std::nearbyint(timesteps - static_cast<double>(share) * timesteps));
}

}  // namespace

Result<int32_t> FirstCallOfStrength(int32_t step_count, int32_t calls_per_step, double strength) {
  const int32_t steps = StepsOfStrength(strength, step_count);
  if (steps > 0) return (step_count - steps) * calls_per_step;
  std::ostringstream text;
  text << strength;
  return InvalidArgument("strength " + text.str() + " of " + std::to_string(step_count) +
                         " steps is less than one step; raise strength or step_count");
}

Result<DenoisingWindow> MakeDenoisingWindow(const std::vector<float>& timesteps,
                                            int32_t num_train_timesteps, int32_t calls_per_step,
                                            float start, float end, int32_t first_call) {
  const auto count = static_cast<int32_t>(timesteps.size());
  DenoisingWindow window{.begin = first_call, .end = count};
  if (start > 0.0f) {
    const float cutoff = Cutoff(start, num_train_timesteps);
    auto left = static_cast<int32_t>(
        std::count_if(timesteps.begin(), timesteps.end(), [&](float t) { return t < cutoff; }));
    if (calls_per_step == 2 && left % 2 == 0) ++left;
    window.begin = std::max(count - left, first_call);
  }
  if (end < 1.0f) {
    const float cutoff = Cutoff(end, num_train_timesteps);
    window.end = window.begin + static_cast<int32_t>(
                                    std::count_if(timesteps.begin() + window.begin, timesteps.end(),
                                                  [&](float t) { return t >= cutoff; }));
  }
  if (window.begin < window.end) return window;
  return InvalidArgument(
      "denoising_start and denoising_end leave none of the steps; raise step_count or move them "
      "apart");
}

}  // namespace tightfit
