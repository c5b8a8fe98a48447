// DenoisingWindow: which part of a sampler's UNet calls a request makes. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_PIPELINE_DENOISING_WINDOW_H_
#define TIGHTFIT_SERVER_PIPELINE_DENOISING_WINDOW_H_

#include "server/base/status.h"

#include <cstdint>
#include <vector>

namespace tightfit {

// Calls begin, begin + 1, ..., end - 1.
struct DenoisingWindow {
  int32_t begin = 0;
  int32_t end = 0;
};

// The first call of the steps that StepsOfStrength leaves. Errors: INVALID_ARGUMENT with both
// numbers where that is none.
Result<int32_t> FirstCallOfStrength(int32_t step_count, int32_t calls_per_step, double strength);

// `timesteps`: what the UNet is told at each call, from noisy to clean. `start` and `end` are
// shares of the training timesteps, cut as diffusers' denoising_start and denoising_end: from the
// first timestep below the one, to the last that is not below the other. Where a step takes two
// calls (`calls_per_step`), the window begins with a step's first. No call before `first_call` is
// made. Errors: INVALID_ARGUMENT where no call is left.
Result<DenoisingWindow> MakeDenoisingWindow(const std::vector<float>& timesteps,
                                            int32_t num_train_timesteps, int32_t calls_per_step,
                                            float start, float end, int32_t first_call = 0);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_DENOISING_WINDOW_H_
