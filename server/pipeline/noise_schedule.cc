#include "server/pipeline/noise_schedule.h"

#include "server/pipeline/sigma_spacing.h"

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
double InterpolateAt(const std::vector<float>& values, double position) {
  const auto last = static_cast<double>(values.size() - 1);
  if (position <= 0.0) return values.front();
  if (position >= last) return values.back();
  const auto low = static_cast<size_t>(position);
  const double slope = static_cast<double>(values[low + 1]) - static_cast<double>(values[low]);
  return slope * (position - static_cast<double>(low)) + values[low];
}

// `first`, then every `delta` further down, `count` of them, each rounded to even as numpy does.
std::vector<int32_t> RoundedSteps(double first, double delta, int32_t count) {
  std::vector<int32_t> timesteps(count);
  for (int32_t i = 0; i < count; ++i) {
    timesteps[i] = static_cast<int32_t>(std::nearbyint(first + i * delta));
  }
  return timesteps;
}

// numpy.linspace(0, last, count).round(), reversed.
std::vector<int32_t> RoundedLinspace(double last, int32_t count) {
  std::vector<int32_t> timesteps = RoundedSteps(0.0, count > 1 ? last / (count - 1) : 0.0, count);
  if (count > 1) timesteps.back() = static_cast<int32_t>(std::nearbyint(last));
  std::reverse(timesteps.begin(), timesteps.end());
  return timesteps;
}

Status CheckStepCount(const SchedulerConfig& config, int32_t step_count) {
  if (step_count >= 1 && step_count <= config.num_train_timesteps) return OkStatus();
  return InvalidArgument("step_count must be 1 to " + std::to_string(config.num_train_timesteps) +
                         ", but is " + std::to_string(step_count));
}

Result<std::vector<float>> TrainingBetas(const SchedulerConfig& config) {
  if (config.beta_schedule == "linear") {
    return LinSpaceFloat(config.beta_start, config.beta_end, config.num_train_timesteps);
  }
  if (config.beta_schedule != "scaled_linear") {
    return Unsupported("beta_schedule", config.beta_schedule);
  }
  std::vector<float> betas = LinSpaceFloat(std::sqrt(config.beta_start), std::sqrt(config.beta_end),
                                           config.num_train_timesteps);
  for (float& beta : betas) beta *= beta;
  return betas;
}

// torch.cumprod, which accumulates in fp64 and rounds each element.
std::vector<float> CumulativeProduct(const std::vector<float>& factors) {
  std::vector<float> products(factors.size());
  double product = 1.0;
  for (size_t i = 0; i < factors.size(); ++i) {
    product *= static_cast<double>(factors[i]);
    products[i] = static_cast<float>(product);
  }
  return products;
}

// Shifts and scales the square roots so that the last one is 0 and the first stays (Lin et al.
// 2023, algorithm 1), and comes back through the betas, as diffusers does.
std::vector<float> WithZeroSnr(const std::vector<float>& alphas) {
  const float first = std::sqrt(alphas.front());
  const float last = std::sqrt(alphas.back());
  std::vector<float> squares(alphas.size());
  for (size_t i = 0; i < alphas.size(); ++i) {
    const float root = (std::sqrt(alphas[i]) - last) * (first / (first - last));
    squares[i] = root * root;
  }
  std::vector<float> factors(alphas.size());
  for (size_t i = 0; i < alphas.size(); ++i) {
    const float ratio = i == 0 ? squares[0] : squares[i] / squares[i - 1];
    factors[i] = 1.0f - (1.0f - ratio);  // through beta: it rounds
  }
  return CumulativeProduct(factors);
}

// The level after the last step.
Result<float> FinalSigma(const SchedulerConfig& config, const std::vector<float>& training) {
  if (config.final_sigmas_type == "zero") return 0.0f;
  if (config.final_sigmas_type == "sigma_min") return training.front();
  return Unsupported("final_sigmas_type", config.final_sigmas_type);
}

std::vector<double> Spread(SigmaSpacing spacing, double largest, double smallest, int32_t count) {
  return spacing == SigmaSpacing::kKarras ? KarrasSigmas(largest, smallest, count)
                                          : ExponentialSigmas(largest, smallest, count);
}

}  // namespace

Result<std::vector<float>> TrainingAlphas(const SchedulerConfig& config) {
  TF_ASSIGN_OR_RETURN(std::vector<float> factors, TrainingBetas(config));
  for (float& factor : factors) factor = 1.0f - factor;
  const std::vector<float> alphas = CumulativeProduct(factors);
  return config.rescale_betas_zero_snr ? WithZeroSnr(alphas) : alphas;
}

Result<std::vector<float>> TrainingSigmas(const SchedulerConfig& config) {
  TF_ASSIGN_OR_RETURN(std::vector<float> alphas, TrainingAlphas(config));
  // The first sigma must be finite.
  if (config.rescale_betas_zero_snr) alphas.back() = 0x1p-24f;
  std::vector<float> sigmas(alphas.size());
  for (size_t i = 0; i < alphas.size(); ++i) sigmas[i] = std::sqrt((1.0f - alphas[i]) / alphas[i]);
  return sigmas;
}

Result<NoiseSchedule> MakeNoiseSchedule(const SchedulerConfig& config, int32_t step_count,
                                        SigmaSpacing spacing) {
  TF_RETURN_IF_ERROR(CheckStepCount(config, step_count));
  if (config.interpolation_type != "linear") {
    return Unsupported("interpolation_type", config.interpolation_type);
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
  std::vector<double> sigmas;
  for (const float timestep : schedule.timesteps) {
    sigmas.push_back(InterpolateAt(training, timestep));
  }
  if (spacing != SigmaSpacing::kTimesteps) {
    sigmas = Spread(spacing, sigmas.front(), sigmas.back(), step_count);
    for (int32_t i = 0; i < step_count; ++i) {
      schedule.timesteps[i] = static_cast<float>(TimestepOfSigma(sigmas[i], training));
    }
  }
  schedule.sigmas.assign(sigmas.begin(), sigmas.end());
  TF_ASSIGN_OR_RETURN(const float final_sigma, FinalSigma(config, training));
  schedule.sigmas.push_back(final_sigma);
  const float max_sigma = *std::max_element(schedule.sigmas.begin(), schedule.sigmas.end());
  // A leading schedule does not start at the last timestep, so its latents keep some picture.
  schedule.init_noise_sigma =
      config.timestep_spacing == "leading" ? std::sqrt(max_sigma * max_sigma + 1.0f) : max_sigma;
  return schedule;
}

Result<NoiseSchedule> MakeMultistepSchedule(const SchedulerConfig& config, int32_t step_count,
                                            SigmaSpacing spacing) {
  TF_RETURN_IF_ERROR(CheckStepCount(config, step_count));
  const int32_t train_count = config.num_train_timesteps;
  std::vector<int32_t> timesteps;
  if (config.timestep_spacing == "linspace") {
    timesteps = RoundedLinspace(train_count - 1, step_count + 1);
    timesteps.pop_back();
  } else if (config.timestep_spacing == "leading") {
    const int32_t ratio = train_count / (step_count + 1);
    for (int32_t i = step_count; i >= 1; --i) timesteps.push_back(i * ratio + config.steps_offset);
  } else if (config.timestep_spacing == "trailing") {
    const double first = train_count;
    timesteps = RoundedSteps(first, (first - first / step_count) - first, step_count);
    for (int32_t& timestep : timesteps) --timestep;
  } else {
    return Unsupported("timestep_spacing", config.timestep_spacing);
  }
  TF_ASSIGN_OR_RETURN(const std::vector<float> training, TrainingSigmas(config));
  NoiseSchedule schedule;
  schedule.init_noise_sigma = 1.0f;
  if (spacing == SigmaSpacing::kTimesteps) {
    for (const int32_t timestep : timesteps) {
      schedule.timesteps.push_back(static_cast<float>(timestep));
      schedule.sigmas.push_back(static_cast<float>(InterpolateAt(training, timestep)));
    }
  } else {
    // Over the whole range of training, whatever the timesteps.
    for (const double sigma : Spread(spacing, training.back(), training.front(), step_count)) {
      const double timestep = TimestepOfSigma(sigma, training);
      schedule.timesteps.push_back(static_cast<float>(
          spacing == SigmaSpacing::kKarras ? std::nearbyint(timestep) : std::trunc(timestep)));
      schedule.sigmas.push_back(static_cast<float>(sigma));
    }
  }
  TF_ASSIGN_OR_RETURN(const float final_sigma, FinalSigma(config, training));
  schedule.sigmas.push_back(final_sigma);
  return schedule;
}

Result<std::vector<int32_t>> MakeDiscreteTimesteps(const SchedulerConfig& config,
                                                   int32_t step_count) {
  TF_RETURN_IF_ERROR(CheckStepCount(config, step_count));
  const int32_t train_count = config.num_train_timesteps;
  if (config.timestep_spacing == "linspace") return RoundedLinspace(train_count - 1, step_count);
  std::vector<int32_t> timesteps;
  if (config.timestep_spacing == "leading") {
    const int32_t ratio = train_count / step_count;
    for (int32_t i = step_count - 1; i >= 0; --i) {
      // The offset may reach beyond the last one.
      timesteps.push_back(std::min(i * ratio + config.steps_offset, train_count - 1));
    }
    return timesteps;
  }
  if (config.timestep_spacing == "trailing") {
    const double first = train_count;
    timesteps = RoundedSteps(first, (first - first / step_count) - first, step_count);
    for (int32_t& timestep : timesteps) --timestep;
    return timesteps;
  }
  return Unsupported("timestep_spacing", config.timestep_spacing);
}

}  // namespace tightfit
