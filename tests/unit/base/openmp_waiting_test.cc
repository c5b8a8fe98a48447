// When computing threads sleep instead of spinning. What comes of it is measured by
// tests/bench/busy_machine.py.
#include "server/base/openmp_waiting.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ContentionJudgeTest : public testing::Test {
 protected:
  // Looks every 50 ms at a thread that could run all the time and had to wait for `share` of it.
  bool Run(milliseconds time, double share) {
    bool is_contended = false;
    for (milliseconds at{0}; at < time; at += milliseconds(50)) {
      const auto waited = std::chrono::duration_cast<std::chrono::nanoseconds>(
          share * std::chrono::duration<double>(0.05));
      is_contended = judge_.Update(milliseconds(50) - waited, waited);
    }
    return is_contended;
  }

  ContentionJudge judge_;
};

TEST_F(ContentionJudgeTest, IsCalmWhileTheThreadHasItsProcessorToItself) {
  EXPECT_FALSE(Run(seconds(3600), 0.0));
  EXPECT_FALSE(Run(seconds(3600), 0.04)) << "other threads of the server run too, now and then";
}

TEST_F(ContentionJudgeTest, SeesContentionAtOnce) {
  EXPECT_TRUE(Run(milliseconds(50), 0.06));
  EXPECT_TRUE(Run(seconds(3600), 0.3));
}

TEST_F(ContentionJudgeTest, GoesBackAfterTwoCalmSeconds) {
  EXPECT_TRUE(Run(milliseconds(50), 0.5));
  EXPECT_TRUE(Run(milliseconds(1900), 0.01));
  EXPECT_FALSE(Run(milliseconds(200), 0.01));
}

TEST_F(ContentionJudgeTest, OneLookWithContentionStartsTheCalmOver) {
  EXPECT_TRUE(Run(milliseconds(50), 0.5));
  EXPECT_TRUE(Run(milliseconds(1900), 0.0));
  EXPECT_TRUE(Run(milliseconds(50), 0.03));
  EXPECT_TRUE(Run(milliseconds(1900), 0.0));
}

TEST_F(ContentionJudgeTest, LearnsNothingWhileNothingIsComputed) {
  EXPECT_TRUE(Run(milliseconds(50), 0.5));
  for (int look = 0; look < 10'000; ++look) {
    ASSERT_TRUE(judge_.Update(milliseconds(1), milliseconds(0)));
  }
}

// Threads that sleep may hardly meet the others, who are there all the same.
TEST_F(ContentionJudgeTest, TriesLessOftenEachTimeThatItWasWrong) {
  EXPECT_TRUE(Run(milliseconds(50), 0.5));
  std::vector<int> calm_seconds;
  for (int attempt = 0; attempt < 8; ++attempt) {
    int waited_seconds = 0;
    while (Run(seconds(1), 0.0)) ++waited_seconds;
    calm_seconds.push_back(waited_seconds + 1);
    EXPECT_TRUE(Run(milliseconds(50), 0.5));
  }
  EXPECT_LE(calm_seconds.front(), 3);
  EXPECT_GE(calm_seconds[3], 12);
  EXPECT_LE(calm_seconds.back(), 62);
}

TEST(UsersOpenMpWaitingTest, IsWhatTheEnvironmentSays) {
  constexpr const char* kVariables[] = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"};
  for (const char* const name : kVariables) unsetenv(name);
  EXPECT_EQ(UsersOpenMpWaiting(), "");
  for (const char* const name : kVariables) {
    setenv(name, "x", 1);
    EXPECT_EQ(UsersOpenMpWaiting(), std::string(name) + "=x");
    unsetenv(name);
  }
}

// This program has no OpenMP.
TEST(OpenMpWaitingTest, DoesNothingWithoutOpenMp) {
  const OpenMpWaiting waiting(/*sleeps_always=*/true, [](bool) { ADD_FAILURE(); });
}

}  // namespace
}  // namespace tightfit
