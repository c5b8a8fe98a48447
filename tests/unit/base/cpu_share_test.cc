// How many processors a process may use, by files as the kernel writes them (cgroups(7), proc(5)).
#include "server/base/cpu_share.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace tightfit {
namespace {

class CpuQuotaTest : public testing::Test {
 protected:
  CpuQuotaTest() {
    std::string name = (std::filesystem::temp_directory_path() / "cpu_share_XXXXXX").string();
    root_ = mkdtemp(name.data());
  }
  ~CpuQuotaTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  void MountVersion2(const std::string& root = "/") const {
    Write("/proc/self/mountinfo",
          "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
          "30 22 0:26 " +
              root + " /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
  }

  std::optional<double> Quota() const { return ReadCpuQuota(root_); }

  std::string root_;
};

TEST_F(CpuQuotaTest, IsNoneWithoutProcOrWithoutGroups) {
  EXPECT_FALSE(Quota().has_value());
  Write("/proc/self/cgroup", "0::/\n");
  EXPECT_FALSE(Quota().has_value());
  MountVersion2();
  EXPECT_FALSE(Quota().has_value());
}

TEST_F(CpuQuotaTest, ReadsVersion2) {
  MountVersion2();
  Write("/proc/self/cgroup", "0::/system.slice/tightfit.service\n");
  const std::string file = "/sys/fs/cgroup/system.slice/tightfit.service/cpu.max";
  Write(file, "150000 100000\n");
  EXPECT_EQ(Quota(), 1.5);
  Write(file, "max 100000\n");
  EXPECT_FALSE(Quota().has_value());
}

TEST_F(CpuQuotaTest, TakesTheSmallestOfTheGroupsAround) {
  MountVersion2();
  Write("/proc/self/cgroup", "0::/a/b\n");
  Write("/sys/fs/cgroup/a/b/cpu.max", "400000 100000\n");
  Write("/sys/fs/cgroup/a/cpu.max", "50000 100000\n");
  EXPECT_EQ(Quota(), 0.5);
}

TEST_F(CpuQuotaTest, ReadsTheRootOfAContainersNamespace) {
  MountVersion2();
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(Quota(), 2.0);
}

TEST_F(CpuQuotaTest, ReadsVersion1InAContainerThatSeesTheHostsPath) {
  Write("/proc/self/mountinfo",
        "1 0 0:1 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        "2 0 0:2 /docker/ab /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:9 - cgroup cgroup "
        "rw,cpu,cpuacct\n");
  Write("/proc/self/cgroup", "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "50000\n");
  EXPECT_EQ(Quota(), 2.0);
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  EXPECT_FALSE(Quota().has_value());
}

TEST_F(CpuQuotaTest, DoesNotTakeCpusetForCpu) {
  Write("/proc/self/mountinfo", "2 0 0:2 / /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset\n");
  Write("/proc/self/cgroup", "3:cpuset:/\n");
  Write("/sys/fs/cgroup/cpuset/cpu.cfs_quota_us", "100000\n");
  Write("/sys/fs/cgroup/cpuset/cpu.cfs_period_us", "100000\n");
  EXPECT_FALSE(Quota().has_value());
}

TEST_F(CpuQuotaTest, IsNoneWhereTheFilesHoldSomethingElse) {
  MountVersion2();
  Write("/proc/self/cgroup", "\n::\nx\n0::/a\n");
  for (const char* const text : {"", "\n", "0 100000\n", "100000 0\n", "100000\n", "a b\n"}) {
    Write("/sys/fs/cgroup/a/cpu.max", text);
    EXPECT_FALSE(Quota().has_value()) << text;
  }
}

TEST(CpuShareTest, RoundsTheQuotaUpAndKeepsToTheAffinity) {
  EXPECT_EQ((CpuShare{.cpu_count = 8, .quota_cpus = {}}).thread_count(), 8);
  EXPECT_EQ((CpuShare{.cpu_count = 8, .quota_cpus = 0.2}).thread_count(), 1);
  EXPECT_EQ((CpuShare{.cpu_count = 8, .quota_cpus = 1.0}).thread_count(), 1);
  EXPECT_EQ((CpuShare{.cpu_count = 8, .quota_cpus = 2.5}).thread_count(), 3);
  EXPECT_EQ((CpuShare{.cpu_count = 2, .quota_cpus = 64.0}).thread_count(), 2);
}

TEST(CpuShareTest, CountsTheProcessorsThatTheThreadMayRunOn) {
  const int all = ReadCpuShare().cpu_count;
  EXPECT_LE(all, static_cast<int>(std::thread::hardware_concurrency()));
  int alone = 0;
  std::thread([&alone] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    if (sched_setaffinity(0, sizeof(one), &one) == 0) alone = ReadCpuShare().cpu_count;
  }).join();
  EXPECT_EQ(alone, 1);
}

}  // namespace
}  // namespace tightfit
