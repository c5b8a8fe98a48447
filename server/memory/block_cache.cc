#include "server/memory/block_cache.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <vector>

namespace tightfit {
namespace {

// Below, glibc's heap keeps blocks itself; above, a few blocks would fill the cache.
constexpr size_t kSmallestBytes = size_t{1} << 20;
constexpr size_t kLargestBytes = size_t{128} << 20;

}  // namespace

std::optional<size_t> BlockCache::BlockBytes(size_t size_bytes) {
  if (size_bytes < kSmallestBytes || size_bytes > kLargestBytes) return std::nullopt;
  const size_t step = std::bit_floor(size_bytes) / 8;
  return (size_bytes + step - 1) / step * step;
}

void* BlockCache::Take(size_t block_bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(blocks_, block_bytes, &Block::bytes);
  if (found == blocks_.end()) return nullptr;
  void* const data = found->data;
  blocks_.erase(found);
  held_bytes_ -= block_bytes;
  return data;
}

void BlockCache::Put(void* block, size_t block_bytes) {
  std::vector<void*> dropped;
  {
    const std::lock_guard lock(mutex_);
    blocks_.push_front({block, block_bytes});
    held_bytes_ += block_bytes;
    while (held_bytes_ > limit_bytes_) {
      dropped.push_back(blocks_.back().data);
      held_bytes_ -= blocks_.back().bytes;
      blocks_.pop_back();
    }
  }
  for (void* const each : dropped) std::free(each);
}

void BlockCache::Release() {
  std::list<Block> blocks;
  {
    const std::lock_guard lock(mutex_);
    blocks.swap(blocks_);
    held_bytes_ = 0;
  }
  for (const Block& block : blocks) std::free(block.data);
}

size_t BlockCache::held_bytes() const {
  const std::lock_guard lock(mutex_);
  return held_bytes_;
}

}  // namespace tightfit
