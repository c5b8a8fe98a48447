// NoiseSchedule: at which timesteps the UNet is asked and how much noise the latents hold there, as
// diffusers' schedulers lay it out. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_PIPELINE_NOISE_SCHEDULE_H_
#define TIGHTFIT_SERVER_PIPELINE_NOISE_SCHEDULE_H_

#include "server/base/status.h"
#include "server/model/model_directory.h"

#include <cstdint>
#include <vector>

namespace tightfit {

// How noise levels are spread over the steps.
enum class SigmaSpacing {
  kTimesteps,    // those that training had at the timesteps
  kKarras,       // Karras et al. 2022, equation 5, rho = 7
  kExponential,  // evenly in their logarithm
};

struct NoiseSchedule {
  std::vector<float> timesteps;   // what the UNet is told, from noisy to clean
  std::vector<float> sigmas;      // noise level at each timestep, then the final one
  float init_noise_sigma = 0.0f;  // what a unit normal draw is multiplied by to start
};

// How much signal is left at the training timesteps 0 to num_train_timesteps - 1: the cumulative
// product of 1 - beta. With config.rescale_betas_zero_snr the last one is 0, as DDIM takes it.
// Errors: UNIMPLEMENTED for another beta_schedule.
Result<std::vector<float>> TrainingAlphas(const SchedulerConfig& config);

// The training noise levels sqrt((1 - alpha) / alpha), the last alpha being at least 2^-24.
Result<std::vector<float>> TrainingSigmas(const SchedulerConfig& config);

// Of Euler's and Heun's methods: picks `step_count` timesteps by config.timestep_spacing and
// interpolates the training sigmas at them. Latents hold signal + sigma * noise. Errors:
// INVALID_ARGUMENT unless 1 <= step_count <= num_train_timesteps; UNIMPLEMENTED for a spacing,
// interpolation_type or final_sigmas_type that is not listed in SchedulerConfig.
Result<NoiseSchedule> MakeNoiseSchedule(const SchedulerConfig& config, int32_t step_count,
                                        SigmaSpacing spacing = SigmaSpacing::kTimesteps);

// Of multistep methods (DPM-Solver, UniPC): whole timesteps, laid out for one step more than is
// taken. Latents keep unit variance; init_noise_sigma is 1. Errors as above.
Result<NoiseSchedule> MakeMultistepSchedule(const SchedulerConfig& config, int32_t step_count,
                                            SigmaSpacing spacing = SigmaSpacing::kTimesteps);

// Whole timesteps alone, as DDIM takes them. Errors as above.
Result<std::vector<int32_t>> MakeDiscreteTimesteps(const SchedulerConfig& config,
                                                   int32_t step_count);

// The same configuration with a last level of 0.
SchedulerConfig EndingClean(SchedulerConfig config);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_NOISE_SCHEDULE_H_
