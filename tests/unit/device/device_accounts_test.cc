// LibTorch's allocator for CUDA tells of each block by the function that is called here.
#include "server/device/device_accounts.h"

#include "server/device/run_torch.h"
#include "server/memory/memory_accounts.h"

#include <c10/core/Allocator.h>
#include <gtest/gtest.h>

#include <thread>

namespace tightfit {
namespace {

const c10::Device kCuda("cuda:0");

MemoryAccount* Account(const char* model) {
  return MemoryAccounts::Instance().Get(model, "unet", MemoryPurpose::kActivations);
}

void Allocate(void* block, int64_t bytes, c10::Device device = kCuda) {
  c10::reportMemoryUsageToProfiler(block, bytes, 0, 0, device);
}
void Free(void* block, int64_t bytes) { Allocate(block, -bytes); }

TEST(DeviceAccountsTest, ChargesABlockToTheCurrentAccountAndCreditsTheSame) {
  std::thread([] {
    ChargeDeviceMemoryOfThisThread();
    ChargeDeviceMemoryOfThisThread();
    char blocks[2];
    MemoryAccount* const first = Account("device-first");
    MemoryAccount* const second = Account("device-second");
    {
      const ScopedMemoryAccount scope(first);
      Allocate(&blocks[0], 512);
      Allocate(&blocks[1], 1024);
    }
    const ScopedMemoryAccount scope(second);
    EXPECT_EQ(first->current_bytes(), 1536);
    Free(&blocks[0], 512);
    EXPECT_EQ(first->current_bytes(), 1024);
    // The allocator gives an address again.
    Allocate(&blocks[0], 2048);
    EXPECT_EQ(second->current_bytes(), 2048);
    Free(&blocks[0], 2048);
    Free(&blocks[1], 1024);
    EXPECT_EQ(first->current_bytes(), 0);
    EXPECT_EQ(first->peak_bytes(), 1536);
    EXPECT_EQ(second->current_bytes(), 0);
  }).join();
}

// As cuDNN's callers do: a plan whose workspace finds no room is given up for one that needs less.
TEST(DeviceAccountsTest, LetsACallGoOnThatGotOverMemoryThatRanOut) {
  std::thread([] {
    ChargeDeviceMemoryOfThisThread();
    const auto run_out = [] {
      c10::reportOutOfMemoryToProfiler(1 << 20, 0, 0, kCuda);
      throw c10::OutOfMemoryError({__func__, __FILE__, __LINE__}, "CUDA out of memory");
    };
    EXPECT_TRUE(RunTorch("test", [&] {
                  try {
                    run_out();
                  } catch (const c10::OutOfMemoryError&) {
                  }
                  return OkStatus();
                }).ok());
    EXPECT_EQ(RunTorch("test",
                       [&] {
                         run_out();
                         return OkStatus();
                       })
                  .reason(),
              "OUT_OF_MEMORY");
  }).join();
}

TEST(DeviceAccountsTest, LeavesHostMemoryAndUnknownBlocksAlone) {
  std::thread([] {
    ChargeDeviceMemoryOfThisThread();
    char block = 0;
    MemoryAccount* const account = Account("device-other");
    const ScopedMemoryAccount scope(account);
    Allocate(&block, 512, c10::Device(c10::DeviceType::CPU));
    Free(&block, 512);
    EXPECT_EQ(account->current_bytes(), 0);
    EXPECT_EQ(account->peak_bytes(), 0);
  }).join();
}

}  // namespace
}  // namespace tightfit
