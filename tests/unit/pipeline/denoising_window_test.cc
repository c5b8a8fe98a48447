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
