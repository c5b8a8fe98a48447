#include "server/memory/block_cache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>
#include <vector>

namespace tightfit {
namespace {

constexpr size_t kMib = size_t{1} << 20;

void* NewBlock(size_t bytes) { return std::aligned_alloc(64, bytes); }

TEST(BlockCacheTest, BlocksAreAtMostAnEighthLargerAndOfFewSizes) {
  EXPECT_FALSE(BlockCache::BlockBytes(kMib - 1).has_value());
  EXPECT_FALSE(BlockCache::BlockBytes(128 * kMib + 1).has_value());
  size_t last = 0;
  int sizes = 0;
  for (size_t bytes = kMib; bytes <= 128 * kMib; bytes += 4093) {
    const size_t block = BlockCache::BlockBytes(bytes).value();
    ASSERT_GE(block, bytes);
    ASSERT_LE(block - bytes, bytes / 8);
    ASSERT_EQ(block % 4096, 0u);
    ASSERT_GE(block, last);
    sizes += block != last ? 1 : 0;
    last = block;
  }
  EXPECT_LE(sizes, 7 * 8 + 1);
}

TEST(BlockCacheTest, GivesABlockOfThatSizeBackAndNoOther) {
  BlockCache cache(64 * kMib);
  EXPECT_EQ(cache.Take(kMib), nullptr);
  void* const small = NewBlock(kMib);
  void* const large = NewBlock(2 * kMib);
  cache.Put(small, kMib);
  cache.Put(large, 2 * kMib);
  EXPECT_EQ(cache.held_bytes(), 3 * kMib);
  EXPECT_EQ(cache.Take(2 * kMib), large);
  EXPECT_EQ(cache.Take(2 * kMib), nullptr);
  EXPECT_EQ(cache.held_bytes(), kMib);
  std::free(large);
}

TEST(BlockCacheTest, NeverHoldsMoreThanItsLimitAndDropsTheOldest) {
  BlockCache cache(4 * kMib);
  void* const oldest = NewBlock(2 * kMib);
  cache.Put(oldest, 2 * kMib);
  cache.Put(NewBlock(kMib), kMib);
  cache.Put(NewBlock(kMib + 4096), kMib + 4096);
  EXPECT_EQ(cache.Take(2 * kMib), nullptr);
  EXPECT_EQ(cache.held_bytes(), 2 * kMib + 4096);
  cache.Put(NewBlock(8 * kMib), 8 * kMib);
  EXPECT_EQ(cache.held_bytes(), 0u);
}

TEST(BlockCacheTest, ReleaseGivesEverythingBack) {
  BlockCache cache(4 * kMib);
  cache.Put(NewBlock(kMib), kMib);
  cache.Release();
  EXPECT_EQ(cache.held_bytes(), 0u);
  EXPECT_EQ(cache.Take(kMib), nullptr);
}

TEST(BlockCacheTest, ThreadsNeverShareABlock) {
  BlockCache cache(8 * kMib);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&cache, t] {
      for (int i = 0; i < 2000; ++i) {
        void* block = cache.Take(kMib);
        if (block == nullptr) block = NewBlock(kMib);
        *static_cast<volatile int*>(block) = t;
        ASSERT_EQ(*static_cast<volatile int*>(block), t);
        cache.Put(block, kMib);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(cache.held_bytes(), 4 * kMib);
}

}  // namespace
}  // namespace tightfit
