// Who decides how many threads compute.
#include "server/config/compute_threads.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

constexpr CpuShare kFour{.cpu_count = 4, .quota_cpus = {}};
constexpr CpuShare kOneAndAHalfOfFour{.cpu_count = 4, .quota_cpus = 1.5};

void ExpectChoice(const ComputeThreads& threads, int count, const char* chosen_by) {
  EXPECT_EQ(threads.count, count);
  EXPECT_EQ(threads.chosen_by, chosen_by);
}

TEST(ComputeThreadsTest, AreOneForEachProcessorThatTheProcessMayUse) {
  ExpectChoice(ChooseComputeThreads(0, nullptr, kFour), 4, "affinity");
  ExpectChoice(ChooseComputeThreads(0, nullptr, kOneAndAHalfOfFour), 2, "quota");
  ExpectChoice(ChooseComputeThreads(0, nullptr, {.cpu_count = 2, .quota_cpus = 2.0}), 2,
               "affinity");
}

TEST(ComputeThreadsTest, AreWhatTheConfigurationOrElseTheEnvironmentSays) {
  ExpectChoice(ChooseComputeThreads(7, "3", kOneAndAHalfOfFour), 7, "configuration");
  ExpectChoice(ChooseComputeThreads(0, "3", kOneAndAHalfOfFour), 3, "environment");
  ExpectChoice(ChooseComputeThreads(0, "3,2", kOneAndAHalfOfFour), 3, "environment");
}

TEST(ComputeThreadsTest, PayNoHeedToAnEnvironmentThatNamesNoCount) {
  for (const char* const text : {"", "0", "-1", "many", "99999999999999999999"}) {
    ExpectChoice(ChooseComputeThreads(0, text, kFour), 4, "affinity");
  }
}

}  // namespace
}  // namespace tightfit
