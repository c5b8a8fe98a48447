#include "server/pipeline/denoising_window.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

const std::vector<float>& Timesteps() {
  static const auto* const timesteps = new std::vector<float>{901, 701, 501, 301, 101};
  return *timesteps;
}

void ExpectWindow(float start, float end, int32_t first, int32_t last) {
  const auto window = MakeDenoisingWindow(Timesteps(), 1000, 1, start, end);
  ASSERT_TRUE(window.ok()) << window.status().ForLog();
  EXPECT_EQ(window->begin, first) << start << " " << end;
  EXPECT_EQ(window->end, last) << start << " " << end;
}

TEST(DenoisingWindowTest, IsEverythingUnlessToldOtherwise) { ExpectWindow(0.0f, 1.0f, 0, 5); }

TEST(DenoisingWindowTest, EndsWithTheLastTimestepThatIsNotBelowTheCutoff) {
  ExpectWindow(0.0f, 0.5f, 0, 3);
  ExpectWindow(0.0f, 0.499f, 0, 3);
  ExpectWindow(0.0f, 0.498f, 0, 2);
  ExpectWindow(0.0f, 0.8f, 0, 4);
}

TEST(DenoisingWindowTest, BeginsWhereTheOtherPartEnded) {
  for (const float share : {0.1f, 0.25f, 0.3f, 0.499f, 0.5f, 0.7f, 0.8f}) {
    const auto first = MakeDenoisingWindow(Timesteps(), 1000, 1, 0.0f, share);
    const auto second = MakeDenoisingWindow(Timesteps(), 1000, 1, share, 1.0f);
    ASSERT_TRUE(first.ok() && second.ok()) << share;
    EXPECT_EQ(first->end, second->begin) << share;
    EXPECT_EQ(second->end, 5);
  }
  ExpectWindow(0.3f, 0.7f, 2, 4);
}

TEST(DenoisingWindowTest, BeginsWithTheFirstCallOfAStep) {
  // Heun's calls: a step begins, and is corrected at the next one's timestep.
  const std::vector<float> timesteps = {901, 601, 601, 301, 301};
  const auto window = MakeDenoisingWindow(timesteps, 1000, 2, 0.5f, 1.0f);
  ASSERT_TRUE(window.ok());
  EXPECT_EQ(window->begin, 2);
}

// The numbers of steps that diffusers 0.42.1 takes.
TEST(DenoisingWindowTest, AStrengthIsCutToWholeStepsInDouble) {
  const auto steps_of = [](int32_t step_count, double strength) {
    const auto first = FirstCallOfStrength(step_count, 1, strength);
    return first.ok() ? step_count - *first : 0;
  };
  EXPECT_EQ(steps_of(10, 0.29), 2);
  EXPECT_EQ(steps_of(50, 0.58), 28);
  EXPECT_EQ(steps_of(100, 0.29), 28);
  EXPECT_EQ(steps_of(10, 0.7), 7);
  EXPECT_EQ(steps_of(10, static_cast<double>(0.7f)), 6) << "what a float makes of it";
  EXPECT_EQ(steps_of(10, 0.9999), 9);
  EXPECT_EQ(steps_of(10, 1.0), 10);
  EXPECT_EQ(steps_of(1000, 0.001), 1);
  EXPECT_EQ(*FirstCallOfStrength(10, 2, 0.3), 14) << "heun calls twice a step";
}

TEST(DenoisingWindowTest, RefusesAStrengthOfLessThanAStepWithBothNumbers) {
  const Status status = FirstCallOfStrength(20, 1, 0.049).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "strength 0.049 of 20 steps is less than one step; raise strength or step_count");
}

TEST(DenoisingWindowTest, AnEndCutsWhatAStrengthLeaves) {
  const auto window = MakeDenoisingWindow(Timesteps(), 1000, 1, 0.0f, 0.5f, /*first_call=*/2);
  ASSERT_TRUE(window.ok());
  EXPECT_EQ(window->begin, 2);
  EXPECT_EQ(window->end, 3);
  EXPECT_FALSE(MakeDenoisingWindow(Timesteps(), 1000, 1, 0.0f, 0.5f, 3).ok());
}

TEST(DenoisingWindowTest, RefusesToDoNothing) {
  for (const auto& [start, end] :
       {std::pair(0.0f, 0.05f), std::pair(0.95f, 1.0f), std::pair(0.51f, 0.55f)}) {
    EXPECT_EQ(MakeDenoisingWindow(Timesteps(), 1000, 1, start, end).status().code(),
              StatusCode::kInvalidArgument)
        << start << " " << end;
  }
}

}  // namespace
}  // namespace tightfit
