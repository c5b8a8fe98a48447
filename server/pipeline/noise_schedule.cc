#include "server/pipeline/noise_schedule.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace tightfit {
namespace {

Status Unsupported(const std::string& key, const std::string& value) {
  return {
      StatusCode::kUnimplemented, "UNSUPPORTED_SCHEDULER",
      "the model's scheduler has " + key + " \"" + value + "\", which this build cannot sample"};
}

// torch.linspace in fp32: both halves count from their own end, each value with one rounding.
std::vector<float> LinSpaceFloat(double first, double last, int32_t count) {
  const auto start = static_cast<float>(first);
  const auto end = static_cast<float>(last);
  const float step = count > 1 ? (end - start) / static_cast<float>(count - 1) : 0.0f;
  std::vector<float> values(count);
  for (int32_t i = 0; i < count; ++i) {
    values[i] = i < count / 2 ? std::fma(step, static_cast<float>(i), start)
                              : std::fma(-step, static_cast<float>(count - 1 - i), end);
  }
  return values;
}

// numpy.linspace(0, last, count, dtype=float32), reversed.
std::vector<float> LinspaceTimesteps(int32_t train_count, int32_t step_count) {
  const double last = train_count - 1;
  std::vector<float> timesteps(step_count);
  for (int32_t i = 0; i < step_count; ++i) {
    timesteps[i] = step_count > 1 ? static_cast<float>(i * (last / (step_count - 1))) : 0.0f;
  }
  if (step_count > 1) timesteps.back() = static_cast<float>(last);
  std::reverse(timesteps.begin(), timesteps.end());
  return timesteps;
}

std::vector<float> LeadingTimesteps(int32_t train_count, int32_t step_count, int32_t offset) {
  const int32_t ratio = train_count / step_count;
  std::vector<float> timesteps(step_count);
  for (int32_t i = 0; i < step_count; ++i) {
    timesteps[i] = static_cast<float>((step_count - 1 - i) * ratio + offset);
  }
  return timesteps;
}

// numpy.arange(train_count, 0, -ratio).round() - 1. For some counts (61 of 1000 among them)
// rounding makes arange one longer than asked, and diffusers then takes a stray last step at
// timestep -1; we do not.
std::vector<float> TrailingTimesteps(int32_t train_count, int32_t step_count) {
  const double first = train_count;
  const double delta = (first - first / step_count) - first;
  std::vector<float> timesteps(step_count);
  for (int32_t i = 0; i < step_count; ++i) {
    timesteps[i] = static_cast<float>(std::nearbyint(first + i * delta)) - 1.0f;
  }
  return timesteps;
}

// numpy.interp over the indices 0, 1, ...: in fp64, constant beyond both ends.
float InterpolateAt(const std::vector<float>& values, float position) {
  const auto last = static_cast<double>(values.size() - 1);
  const double x = position;
  if (x <= 0.0) return values.front();
  if (x >= last) return values.back();
  const auto low = static_cast<size_t>(x);
  const double slope = static_cast<double>(values[low + 1]) - static_cast<double>(values[low]);
  return static_cast<float>(slope * (x - static_cast<double>(low)) + values[low]);
}

}  // namespace

Result<std::vector<float>> TrainingSigmas(const SchedulerConfig& config) {
  std::vector<float> betas;
  if (config.beta_schedule == "linear") {
    betas = LinSpaceFloat(config.beta_start, config.beta_end, config.num_train_timesteps);
  } else if (config.beta_schedule == "scaled_linear") {
    betas = LinSpaceFloat(std::sqrt(config.beta_start), std::sqrt(config.beta_end),
                          config.num_train_timesteps);
    for (float& beta : betas) beta *= beta;
  } else {
    return Unsupported("beta_schedule", config.beta_schedule);
  }
  std::vector<float> sigmas(betas.size());
  double product = 1.0;  // torch.cumprod accumulates in fp64 and rounds each element
  for (size_t i = 0; i < betas.size(); ++i) {
    product *= static_cast<double>(1.0f - betas[i]);
    const auto alpha = static_cast<float>(product);
    sigmas[i] = std::sqrt((1.0f - alpha) / alpha);
  }
  return sigmas;
}

Result<NoiseSchedule> MakeNoiseSchedule(const SchedulerConfig& config, int32_t step_count) {
  if (step_count < 1 || step_count > config.num_train_timesteps) {
    return InvalidArgument("step_count must be 1 to " + std::to_string(config.num_train_timesteps) +
                           ", but is " + std::to_string(step_count));
  }
  if (config.interpolation_type != "linear") {
    return Unsupported("interpolation_type", config.interpolation_type);
  }
  if (config.final_sigmas_type != "zero") {
    return Unsupported("final_sigmas_type", config.final_sigmas_type);
  }
  NoiseSchedule schedule;
  if (config.timestep_spacing == "leading") {
    schedule.timesteps =
        LeadingTimesteps(config.num_train_timesteps, step_count, config.steps_offset);
  } else if (config.timestep_spacing == "trailing") {
    schedule.timesteps = TrailingTimesteps(config.num_train_timesteps, step_count);
  } else if (config.timestep_spacing == "linspace") {
    schedule.timesteps = LinspaceTimesteps(config.num_train_timesteps, step_count);
  } else {
    return Unsupported("timestep_spacing", config.timestep_spacing);
  }
  TF_ASSIGN_OR_RETURN(const std::vector<float> training, TrainingSigmas(config));
  schedule.sigmas.reserve(schedule.timesteps.size() + 1);
  for (const float timestep : schedule.timesteps) {
    schedule.sigmas.push_back(InterpolateAt(training, timestep));
  }
  schedule.sigmas.push_back(0.0f);
  const float max_sigma = *std::max_element(schedule.sigmas.begin(), schedule.sigmas.end());
  // A leading schedule does not start at the last timestep, so its latents keep some picture.
  schedule.init_noise_sigma =
      config.timestep_spacing == "leading" ? std::sqrt(max_sigma * max_sigma + 1.0f) : max_sigma;
  return schedule;
}

}  // namespace tightfit
