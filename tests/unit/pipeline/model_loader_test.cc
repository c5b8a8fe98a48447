#include "server/pipeline/model_loader.h"

#include "server/device/open_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(OpenDeviceTest, RefusesADeviceThatIsNotThereInOneLine) {
  const Result<OpenedDevice> device = OpenDevice("cuda:99");
  ASSERT_FALSE(device.ok());
  EXPECT_EQ(device.status().reason(), "DEVICE_UNAVAILABLE");
  EXPECT_THAT(device.status().message(), StartsWith("cuda:99 is not available: "));
  EXPECT_THAT(device.status().message(), Not(HasSubstr("\n")));
}

TEST(OpenDeviceTest, TakesTheCpuWhereItIsAskedFor) {
  const Result<OpenedDevice> device = OpenDevice("cpu");
  ASSERT_TRUE(device.ok());
  EXPECT_EQ(device->name, "cpu");
  EXPECT_EQ(device->cuda_index, -1);
}

TEST(LoadDiffusionModelTest, AMissingDirectoryIsRefusedWithoutItsPath) {
  DeviceRuntime runtime("cpu", /*thread_count=*/0, /*host_cache_bytes=*/0);
  const auto model = LoadDiffusionModel(runtime, {.name = "m", .path = "/nowhere/secret"}, nullptr);
  ASSERT_FALSE(model.ok());
  EXPECT_THAT(model.status().message(), Not(HasSubstr("secret")));
  EXPECT_THAT(model.status().message(), HasSubstr("model.json"));
}

TEST(LibTorchVersionTest, IsTheOneThatTheBuildPins) {
  EXPECT_THAT(LibTorchVersion(), StartsWith("2.11.0"));
}

}  // namespace
}  // namespace tightfit
