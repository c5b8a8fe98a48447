#include "server/device/device_accounts.h"

#include "server/memory/memory_accounts.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <cstdint>
#include <memory>
#include <unordered_map>

namespace tightfit {
namespace {

// LibTorch's interface for memory profilers: told of every block of a device's allocator.
class DeviceAccounts final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void* block, int64_t change_bytes, size_t, size_t,
                         c10::Device device) override {
    if (device.is_cpu()) return;
    if (change_bytes > 0) {
      MemoryAccount* const account = ScopedMemoryAccount::Current();
      account->Charge(change_bytes);
      blocks_[block] = {account, change_bytes};
      return;
    }
    // Where it is not known it came before this object.
    const auto found = blocks_.find(block);
    if (found == blocks_.end()) return;
    found->second.account->Credit(found->second.size_bytes);
    blocks_.erase(found);
  }

  // Told before the exception is thrown. Nothing to do: cuDNN's callers catch it to try a plan that
  // takes less, with the same result, and what nobody catches ends the call.
  void reportOutOfMemory(int64_t, size_t, size_t, c10::Device) override {}

  bool memoryProfilingEnabled() const override { return true; }

 private:
  struct Block {
    MemoryAccount* account;
    int64_t size_bytes;
  };
  std::unordered_map<void*, Block> blocks_;
};

}  // namespace

void ChargeDeviceMemoryOfThisThread() {
  static thread_local const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE,
                                                      std::make_shared<DeviceAccounts>());
}

}  // namespace tightfit
