#include "server/base/connection_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

namespace tightfit {
namespace {

using testing::HasSubstr;

TEST(ConnectionLimitsTest, TakeHalfOfTheDescriptorsAndOfThatThreeQuartersForOneAddress) {
  const Result<ConnectionLimits> limits = ResolveConnectionLimits({}, 1024);
  ASSERT_TRUE(limits.ok());
  EXPECT_EQ(limits->max_connections, 512);
  EXPECT_EQ(limits->max_connections_per_address, 384);
}

TEST(ConnectionLimitsTest, StayModestWhereTheSystemIsNot) {
  EXPECT_EQ(ResolveConnectionLimits({}, 1 << 20)->max_connections, 2048);
}

TEST(ConnectionLimitsTest, LeaveDescriptorsForEverythingElse) {
  EXPECT_EQ(ResolveConnectionLimits({}, 129)->max_connections, 1);
  EXPECT_FALSE(ResolveConnectionLimits({}, 128).ok());
  EXPECT_TRUE(ResolveConnectionLimits({.max_connections = 896}, 1024).ok());
  const Status status = ResolveConnectionLimits({.max_connections = 897}, 1024).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("limits.max_connections: 897"));
  EXPECT_THAT(status.message(), HasSubstr("take 896 or fewer"));
}

TEST(ConnectionLimitsTest, RefuseMoreForOneAddressThanForAll) {
  const Status status =
      ResolveConnectionLimits({.max_connections = 10, .max_connections_per_address = 11}, 1024)
          .status();
  EXPECT_THAT(status.message(), HasSubstr("limits.max_connections_per_address: 11"));
  EXPECT_TRUE(
      ResolveConnectionLimits({.max_connections = 10, .max_connections_per_address = 10}, 1024)
          .ok());
  EXPECT_EQ(ResolveConnectionLimits({.max_connections = 1}, 1024)->max_connections_per_address, 1);
}

TEST(ConnectionLimitsTest, RaisesTheSoftLimitToTheHardOne) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{64, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  const int64_t raised = RaiseDescriptorLimit();
  rlimit after{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_EQ(after.rlim_cur, before.rlim_max);
  EXPECT_GT(raised, 64);
  setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace
}  // namespace tightfit
