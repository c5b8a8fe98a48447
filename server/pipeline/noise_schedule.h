// NoiseSchedule: at which timesteps the UNet is asked and how much noise the latents hold there, as
// diffusers' Euler schedulers lay it out. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_PIPELINE_NOISE_SCHEDULE_H_
#define TIGHTFIT_SERVER_PIPELINE_NOISE_SCHEDULE_H_

#include "server/base/status.h"
#include "server/model/model_directory.h"

#include <cstdint>
#include <vector>

namespace tightfit {

struct NoiseSchedule {
  std::vector<float> timesteps;   // what the UNet is told, from noisy to clean
  std::vector<float> sigmas;      // noise level at each timestep, then the final 0
  float init_noise_sigma = 0.0f;  // what a unit normal draw is multiplied by to start
};

// The training noise levels sqrt((1 - a) / a), a the cumulative product of 1 - beta, for timesteps
// 0 to num_train_timesteps - 1. Errors: UNIMPLEMENTED for another beta_schedule.
Result<std::vector<float>> TrainingSigmas(const SchedulerConfig& config);

// Picks `step_count` timesteps by config.timestep_spacing and interpolates the training sigmas at
// them. Errors: INVALID_ARGUMENT unless 1 <= step_count <= num_train_timesteps; UNIMPLEMENTED for
// a spacing, interpolation_type or final_sigmas_type that is not listed in SchedulerConfig.
Result<NoiseSchedule> MakeNoiseSchedule(const SchedulerConfig& config, int32_t step_count);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_NOISE_SCHEDULE_H_
