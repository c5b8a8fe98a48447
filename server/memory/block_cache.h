// BlockCache: freed blocks of memory, kept for the next allocation of their size.
//
// An image's activations come and go by the thousand in the same few sizes. Blocks of a megabyte
// come from the system as zeroed pages, which costs as much time as computing on them; blocks that
// are kept cost nothing. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_MEMORY_BLOCK_CACHE_H_
#define TIGHTFIT_SERVER_MEMORY_BLOCK_CACHE_H_

#include <cstddef>
#include <list>
#include <mutex>
#include <optional>

namespace tightfit {

// Thread-safe.
class BlockCache {
 public:
  // Keeps at most `limit_bytes`; of more, the blocks that were freed longest ago go.
  explicit BlockCache(size_t limit_bytes) : limit_bytes_(limit_bytes) {}
  ~BlockCache() { Release(); }
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  // What a block for `size_bytes` is to be allocated with, so that a few sizes serve all: at most
  // an eighth more, a multiple of 4096. nullopt for sizes that are not kept.
  static std::optional<size_t> BlockBytes(size_t size_bytes);

  // The block of exactly so many bytes that was freed last; nullptr where there is none.
  void* Take(size_t block_bytes);
  // Takes over a block from std::aligned_alloc.
  void Put(void* block, size_t block_bytes);
  // Gives all of them back to the system.
  void Release();

  size_t held_bytes() const;

 private:
  struct Block {
    void* data;
    size_t bytes;
  };
  const size_t limit_bytes_;
  mutable std::mutex mutex_;
  std::list<Block> blocks_;  // the one that was freed last is first
  size_t held_bytes_ = 0;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MEMORY_BLOCK_CACHE_H_
