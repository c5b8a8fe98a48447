#include "server/pipeline/noise_schedule.h"

#include "tests/unit/pipeline/sampler_golden.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

// One unit in the last place of a sigma: torch rounds its linspace once or twice, as the CPU's
// vector instructions have it.
constexpr float kRelativeTolerance = 2e-7f;

TEST(NoiseScheduleTest, EqualsDiffusersForEverySpacingAndCount) {
  int checked = 0;
  for (const auto& golden : SamplerGolden().at("schedules")) {
    const std::string name = golden.at("config");
    const int32_t step_count = golden.at("step_count");
    SCOPED_TRACE(name + " " + std::to_string(step_count));
    const auto schedule = MakeNoiseSchedule(GoldenConfig(name), step_count);
    ASSERT_TRUE(schedule.ok()) << schedule.status().ForLog();
    EXPECT_EQ(schedule->timesteps, golden.at("timesteps").get<std::vector<float>>());
    const auto sigmas = golden.at("sigmas").get<std::vector<float>>();
    ASSERT_EQ(schedule->sigmas.size(), sigmas.size());
    for (size_t i = 0; i < sigmas.size(); ++i) {
      EXPECT_NEAR(schedule->sigmas[i], sigmas[i], kRelativeTolerance * sigmas[i]) << "sigma " << i;
    }
    const float init = golden.at("init_noise_sigma");
    EXPECT_NEAR(schedule->init_noise_sigma, init, kRelativeTolerance * init);
    ++checked;
  }
  EXPECT_GE(checked, 20);
}

TEST(NoiseScheduleTest, EndsWithoutNoise) {
  const auto schedule = MakeNoiseSchedule(SchedulerConfig{}, 20);
  ASSERT_TRUE(schedule.ok());
  EXPECT_EQ(schedule->sigmas.back(), 0.0f);
  for (size_t i = 1; i < schedule->sigmas.size(); ++i) {
    EXPECT_LT(schedule->sigmas[i], schedule->sigmas[i - 1]);
  }
}

TEST(NoiseScheduleTest, TrailingNeverTakesMoreStepsThanAsked) {
  SchedulerConfig config;
  config.timestep_spacing = "trailing";
  for (int32_t step_count = 1; step_count <= 150; ++step_count) {
    const auto schedule = MakeNoiseSchedule(config, step_count);
    ASSERT_TRUE(schedule.ok());
    ASSERT_EQ(schedule->timesteps.size(), static_cast<size_t>(step_count));
    EXPECT_EQ(schedule->timesteps.front(), 999.0f);
    EXPECT_GE(schedule->timesteps.back(), 0.0f);
  }
}

TEST(NoiseScheduleTest, RefusesStepCountsOutsideOfTheTrainingSchedule) {
  for (const int32_t step_count : {-1, 0, 1001}) {
    const auto schedule = MakeNoiseSchedule(SchedulerConfig{}, step_count);
    ASSERT_FALSE(schedule.ok()) << step_count;
    EXPECT_EQ(schedule.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(schedule.status().message(), HasSubstr("1 to 1000"));
  }
  EXPECT_TRUE(MakeNoiseSchedule(SchedulerConfig{}, 1000).ok());
}

TEST(NoiseScheduleTest, RefusesWhatItDoesNotKnowByNameAndValue) {
  const auto expect_refused = [](SchedulerConfig config, const std::string& key) {
    const auto schedule = MakeNoiseSchedule(config, 4);
    ASSERT_FALSE(schedule.ok()) << key;
    EXPECT_EQ(schedule.status().code(), StatusCode::kUnimplemented);
    EXPECT_THAT(schedule.status().message(), HasSubstr(key + " \"odd\""));
  };
  expect_refused({.beta_schedule = "odd"}, "beta_schedule");
  expect_refused({.timestep_spacing = "odd"}, "timestep_spacing");
  expect_refused({.interpolation_type = "odd"}, "interpolation_type");
  expect_refused({.final_sigmas_type = "odd"}, "final_sigmas_type");
}

}  // namespace
}  // namespace tightfit
