#include "client/fidelity/sensitivity_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace tightfit::fidelity {
namespace {

size_t ColumnOf(WeightFormat format) {
  return std::ranges::find(kBudgetFormats, format) - kBudgetFormats.begin();
}

double ErrorOf(const Sensitivity& sensitivity, const std::string& layer, WeightFormat format) {
  return sensitivity.layers.at(layer).at(ColumnOf(format)).value();
}

TEST(SensitivitySummaryTest, AnErrorThatWasDrawnIsTakenAsItIs) {
  Sensitivity sensitivity;
  SummarizeLayers({{"a", "nf4", 0.01, {1e-3}}, {"b", "nf4", 0.01, {3e-3}}}, &sensitivity);
  EXPECT_NEAR(ErrorOf(sensitivity, "a", WeightFormat::kNf4), 1e-3, 1e-12);
  EXPECT_NEAR(ErrorOf(sensitivity, "b", WeightFormat::kNf4), 3e-3, 1e-12);
}

TEST(SensitivitySummaryTest, OtherFormatsFollowTheNoiseOfTheWeights) {
  Sensitivity sensitivity;
  SummarizeLayers(
      {{"a", "nf4", 0.01, {1e-3}}, {"a", "e2m5r", 0.0001, {}}, {"a", "nf5", std::nullopt, {}}},
      &sensitivity);
  EXPECT_NEAR(ErrorOf(sensitivity, "a", WeightFormat::kE2m5r), 1e-5, 1e-12);
  EXPECT_FALSE(sensitivity.layers.at("a")[ColumnOf(WeightFormat::kNf5)].has_value());
  EXPECT_FALSE(sensitivity.layers.at("a")[ColumnOf(WeightFormat::kE2m3r)].has_value());
}

TEST(SensitivitySummaryTest, OfSeveralDrawnFormatsTheRatioIsTheGeometricMean) {
  Sensitivity sensitivity;
  SummarizeLayers({{"a", "nf4", 0.01, {1e-3}},     // 0.1 of its noise
                   {"a", "e2m3r", 0.001, {4e-4}},  // 0.4
                   {"a", "e2m5r", 0.0001, {}}},
                  &sensitivity);
  EXPECT_NEAR(ErrorOf(sensitivity, "a", WeightFormat::kE2m5r), 0.0001 * 0.2, 1e-12);
}

TEST(SensitivitySummaryTest, AnUnrulyPromptDoesNotOutvoteTheOthers) {
  // Of three prompts one goes astray by a thousand times as much, in which "b" counts more.
  Sensitivity sensitivity;
  SummarizeLayers({{"a", "nf4", 0.01, {3e-4, 3e-4, 0.1}}, {"b", "nf4", 0.01, {1e-4, 1e-4, 0.3}}},
                  &sensitivity);
  EXPECT_GT(ErrorOf(sensitivity, "a", WeightFormat::kNf4),
            ErrorOf(sensitivity, "b", WeightFormat::kNf4));
  // Together they are what decibels averaged over prompts say.
  EXPECT_NEAR(
      ErrorOf(sensitivity, "a", WeightFormat::kNf4) + ErrorOf(sensitivity, "b", WeightFormat::kNf4),
      std::cbrt(4e-4 * 4e-4 * 0.4), 1e-9);
}

TEST(SensitivitySummaryTest, JointMeasurementsRiseInErrorAndFallInPsnr) {
  Sensitivity sensitivity;
  SetJoint({{"b", 1e-3, 1e-3, 30.0},
            {"a", 1e-5, 1e-5, 50.0},
            {"c", 1e-2, 1e-3, 31.0},
            {"exact", 0.0, 0.0, 100.0}},
           &sensitivity);
  ASSERT_EQ(sensitivity.joint.size(), 2u);
  EXPECT_EQ(sensitivity.joint[0].format, "a");
  EXPECT_EQ(sensitivity.joint[1].format, "b");
}

}  // namespace
}  // namespace tightfit::fidelity
