// Reads tests/golden/samplers.json, which tests/python/make_sampler_golden.py writes with
// diffusers.
#ifndef TIGHTFIT_TESTS_UNIT_PIPELINE_SAMPLER_GOLDEN_H_
#define TIGHTFIT_TESTS_UNIT_PIPELINE_SAMPLER_GOLDEN_H_

#include "server/model/model_directory.h"

#include <nlohmann/json.hpp>

#include <fstream>
#include <string>

namespace tightfit {

inline const nlohmann::json& SamplerGolden() {
  static const nlohmann::json golden =
      nlohmann::json::parse(std::ifstream(TIGHTFIT_SOURCE_DIR "/tests/golden/samplers.json"));
  return golden;
}

inline SchedulerConfig GoldenConfig(const std::string& name) {
  const nlohmann::json& json = SamplerGolden().at("configs").at(name);
  SchedulerConfig config;
  config.num_train_timesteps = json.at("num_train_timesteps");
  config.beta_start = json.at("beta_start");
  config.beta_end = json.at("beta_end");
  config.beta_schedule = json.at("beta_schedule");
  config.timestep_spacing = json.at("timestep_spacing");
  config.steps_offset = json.at("steps_offset");
  config.final_sigmas_type = json.value("final_sigmas_type", "zero");
  config.prediction_type = json.value("prediction_type", "epsilon");
  config.rescale_betas_zero_snr = json.value("rescale_betas_zero_snr", false);
  if (json.contains("set_alpha_to_one")) config.set_alpha_to_one = json.at("set_alpha_to_one");
  if (json.value("clip_sample", false)) {
    config.clip_sample_range = json.value("clip_sample_range", 1.0);
  }
  return config;
}

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_PIPELINE_SAMPLER_GOLDEN_H_
