#include "server/device/counting_allocator.h"

#include "server/memory/block_cache.h"
#include "server/memory/memory_accounts.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <malloc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>

namespace tightfit {
namespace {

constexpr size_t kAlignmentBytes = 64;
constexpr size_t kCacheBytes = size_t{192} << 20;

// Lies right before the data, in a block of its own alignment.
struct BlockHeader {
  MemoryAccount* account;
  int64_t size_bytes;
  size_t cached_bytes;  // of the block, where it goes to the cache; else 0
};
static_assert(sizeof(BlockHeader) <= kAlignmentBytes);

BlockHeader* HeaderOf(void* data) {
  return reinterpret_cast<BlockHeader*>(static_cast<char*>(data) - kAlignmentBytes);
}

// Never destroyed, like the allocator.
BlockCache& Cache() {
  static auto* const cache = new BlockCache(kCacheBytes);
  return *cache;
}

void Free(void* data) {
  if (data == nullptr) return;
  BlockHeader* const header = HeaderOf(data);
  header->account->Credit(header->size_bytes);
  if (header->cached_bytes > 0) {
    Cache().Put(header, header->cached_bytes);
  } else {
    std::free(header);
  }
}

// Weights are never kept when they go: their memory is for other models.
size_t CachedBytes(const MemoryAccount& account, size_t block_bytes) {
  if (account.purpose() != MemoryPurpose::kActivations) return 0;
  return BlockCache::BlockBytes(block_bytes).value_or(0);
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t size_bytes) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (size_bytes == 0) return {nullptr, nullptr, &Free, cpu};
    // A size near SIZE_MAX is a negative one: refused before it wraps around.
    TORCH_CHECK_WITH(OutOfMemoryError,
                     size_bytes <= static_cast<size_t>(std::numeric_limits<int64_t>::max()) -
                                       2 * kAlignmentBytes,
                     "cannot allocate ", size_bytes, " bytes");
    const size_t rounded = (size_bytes + kAlignmentBytes - 1) / kAlignmentBytes * kAlignmentBytes;
    MemoryAccount* const account = ScopedMemoryAccount::Current();
    const size_t cached_bytes = CachedBytes(*account, kAlignmentBytes + rounded);
    void* block = cached_bytes > 0 ? Cache().Take(cached_bytes) : nullptr;
    if (block == nullptr) {
      block =
          std::aligned_alloc(kAlignmentBytes, std::max(cached_bytes, kAlignmentBytes + rounded));
    }
    if (block == nullptr) MemoryAccounts::Instance().CountFailed();
    TORCH_CHECK_WITH(OutOfMemoryError, block != nullptr, "cannot allocate ", size_bytes, " bytes");
    new (block) BlockHeader{account, static_cast<int64_t>(size_bytes), cached_bytes};
    account->Charge(static_cast<int64_t>(size_bytes));
    void* const data = static_cast<char*>(block) + kAlignmentBytes;
    return {data, data, &Free, cpu};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &Free; }

  void copy_data(void* to, const void* from, size_t size_bytes) const override {
    default_copy_data(to, from, size_bytes);
  }
};

}  // namespace

void InstallCountingAllocator() {
  static const bool installed = [] {
    ReturnFreedBlocksToTheSystem();
    // Never destroyed: tensors may be freed while static objects go.
    constexpr uint8_t kHighestPriority = 255;
    c10::SetCPUAllocator(new CountingAllocator, kHighestPriority);
    return true;
  }();
  static_cast<void>(installed);
}

void ReturnFreedBlocksToTheSystem() {
  constexpr int kMmapThresholdBytes = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, kMmapThresholdBytes);
}

void ReleaseCachedBlocks() { Cache().Release(); }

}  // namespace tightfit
