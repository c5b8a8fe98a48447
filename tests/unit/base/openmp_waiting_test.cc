// The restart itself is tested where a whole program runs (tests/python/test_busy_machine.py).
#include "server/base/openmp_waiting.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace tightfit {
namespace {

constexpr const char* kVariables[] = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME",
                                      "TIGHTFIT_OPENMP_WAITING"};

class OpenMpWaitingTest : public testing::Test {
 protected:
  OpenMpWaitingTest() { Clear(); }
  ~OpenMpWaitingTest() override { Clear(); }
  static void Clear() {
    for (const char* const name : kVariables) unsetenv(name);
  }
};

TEST_F(OpenMpWaitingTest, TellsThatNothingWasSaid) {
  EXPECT_EQ(ReadOpenMpWaiting().policy, "");
  EXPECT_FALSE(ReadOpenMpWaiting().is_users);
}

// Executing this program again would run all of its tests anew and never come back here.
TEST_F(OpenMpWaitingTest, LeavesTheUsersChoiceAsItIs) {
  for (const char* const name : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}) {
    Clear();
    setenv(name, "active", 1);
    const char* const argv[] = {"program", nullptr};
    RestartWithBriefOpenMpWaiting(argv);
    EXPECT_EQ(ReadOpenMpWaiting().policy, std::string(name) + "=active");
    EXPECT_TRUE(ReadOpenMpWaiting().is_users);
  }
}

TEST_F(OpenMpWaitingTest, DoesNotRestartTwice) {
  setenv("TIGHTFIT_OPENMP_WAITING", "server", 1);
  const char* const argv[] = {"program", nullptr};
  RestartWithBriefOpenMpWaiting(argv);
  EXPECT_EQ(ReadOpenMpWaiting().policy, "") << "as where a wrapper cleans the environment";
  setenv("GOMP_SPINCOUNT", "1000", 1);
  EXPECT_FALSE(ReadOpenMpWaiting().is_users);
}

}  // namespace
}  // namespace tightfit
