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

// numpy.linspace(0, train_count - 1, count), reversed.
std::vector<double> EvenTimesteps(int32_t train_count, int32_t count) {
  const double last = train_count - 1;
  std::vector<double> timesteps(count);
  for (int32_t i = 0; i < count; ++i) {
    timesteps[i] = count > 1 ? i * (last / (count - 1)) : 0.0;
  }
  if (count > 1) timesteps.back() = last;
  std::reverse(timesteps.begin(), timesteps.end());
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

// Whole timesteps, laid out for `step_count` + `unused_count` steps of which the last ones are not
// taken. Errors: UNIMPLEMENTED for another spacing.
Result<std::vector<int32_t>> WholeTimesteps(const SchedulerConfig& config, int32_t step_count,
                                            int32_t unused_count) {
  const int32_t train_count = config.num_train_timesteps;
  const int32_t laid_out_count = step_count + unused_count;
  std::vector<int32_t> timesteps(step_count);
  if (config.timestep_spacing == "leading") {
    const int32_t ratio = train_count / laid_out_count;
    for (int32_t i = 0; i < step_count; ++i) {
      timesteps[i] = (laid_out_count - 1 - i) * ratio + config.steps_offset;
    }
  } else if (config.timestep_spacing == "trailing") {
    // numpy.arange(train_count, 0, -ratio).round() - 1, whatever is not taken. For some counts (61
    // of 1000 among them) rounding makes arange one longer than asked, and diffusers then takes a
    // stray last step at timestep -1; we do not.
    const double first = train_count;
    const double delta = (first - first / step_count) - first;
    for (int32_t i = 0; i < step_count; ++i) {
      timesteps[i] = static_cast<int32_t>(std::nearbyint(first + i * delta)) - 1;
    }
  } else if (config.timestep_spacing == "linspace") {
    const std::vector<double> even = EvenTimesteps(train_count, laid_out_count);
    for (int32_t i = 0; i < step_count; ++i) {
      timesteps[i] = static_cast<int32_t>(std::nearbyint(even[i]));
    }
  } else {
    return Unsupported("timestep_spacing", config.timestep_spacing);
  }
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
  if (config.timestep_spacing == "linspace") {
    const std::vector<double> even = EvenTimesteps(config.num_train_timesteps, step_count);
    schedule.timesteps.assign(even.begin(), even.end());
  } else {
    TF_ASSIGN_OR_RETURN(const std::vector<int32_t> whole, WholeTimesteps(config, step_count, 0));
    schedule.timesteps.assign(whole.begin(), whole.end());
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
  // A leading schedule does not start at the last timestep, so its latents keep some image.
  schedule.init_noise_sigma =
      config.timestep_spacing == "leading" ? std::sqrt(max_sigma * max_sigma + 1.0f) : max_sigma;
  return schedule;
}

Result<NoiseSchedule> MakeMultistepSchedule(const SchedulerConfig& config, int32_t step_count,
                                            SigmaSpacing spacing) {
  TF_RETURN_IF_ERROR(CheckStepCount(config, step_count));
  TF_ASSIGN_OR_RETURN(const std::vector<int32_t> timesteps, WholeTimesteps(config, step_count, 1));
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
  TF_ASSIGN_OR_RETURN(std::vector<int32_t> timesteps, WholeTimesteps(config, step_count, 0));
  // A leading schedule's offset may reach beyond the last one.
  for (int32_t& timestep : timesteps) timestep = std::min(timestep, config.num_train_timesteps - 1);
  return timesteps;
}

SchedulerConfig EndingClean(SchedulerConfig config) {
  config.final_sigmas_type = "zero";
  return config;
}

}  // namespace tightfit
