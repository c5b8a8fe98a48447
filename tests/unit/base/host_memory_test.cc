#include "server/base/host_memory.h"

#include "tests/support/sanitizers.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

namespace tightfit {
namespace {

TEST(DeviceMemoryTest, ReadsProcTexts) {
  EXPECT_EQ(ParseMemTotalBytes("MemTotal:       16331712 kB\nMemFree:  1 kB\n"), 16331712LL * 1024);
  EXPECT_EQ(ParseMemTotalBytes("MemFree: 5 kB\nMemTotal: 7 kB\n"), 7 * 1024);
  EXPECT_EQ(ParseResidentBytes("5000 120 80 1 0 90 0\n", 4096), 120 * 4096);
  EXPECT_EQ(ParseCpuName("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: x\n"),
            "Some CPU @ 2 GHz");
}

TEST(DeviceMemoryTest, SaysNothingWhereProcDoesNot) {
  EXPECT_EQ(ParseMemAvailableBytes("MemTotal: 7 kB\nMemAvailable:    3 kB\n"), 3 * 1024);
  EXPECT_EQ(ParseMemTotalBytes(""), 0);
  EXPECT_EQ(ParseMemTotalBytes("MemTotal"), 0);
  EXPECT_EQ(ParseResidentBytes("", 4096), 0);
  EXPECT_EQ(ParseCpuName("Features : fp asimd\n"), "CPU");
}

TEST(DeviceMemoryTest, SeesMemoryThatThisProcessTakes) {
  const HostMemory before = ReadHostMemory();
  constexpr size_t kBytes = 64 << 20;
  void* const block =
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(block, MAP_FAILED);
  std::memset(block, 1, kBytes);
  const HostMemory after = ReadHostMemory();
  munmap(block, kBytes);
  EXPECT_GE(after.used_bytes - before.used_bytes, int64_t{60} << 20);
  // The thread sanitizer's shadow of the block is four times as large.
  if (!kSanitized) {
    EXPECT_LE(after.used_bytes - before.used_bytes, int64_t{72} << 20);
  }
  EXPECT_GT(after.total_bytes, after.used_bytes);
}

}  // namespace
}  // namespace tightfit
