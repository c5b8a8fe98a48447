#include "tests/unit/model/heap_use.h"

#include <malloc.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

std::atomic<size_t> largest{0};
std::atomic<int64_t> held{0};
std::atomic<int64_t> peak{0};
int64_t held_at_start = 0;

template <typename Number>
void RaiseTo(std::atomic<Number>& most, Number value) {
  Number seen = most.load();
  while (seen < value && !most.compare_exchange_weak(seen, value)) {
  }
}

void Free(void* block) {
  if (block != nullptr) held -= static_cast<int64_t>(malloc_usable_size(block));
  std::free(block);
}

}  // namespace

void* operator new(size_t size, const std::nothrow_t&) noexcept {
  RaiseTo(largest, size);
  void* const block = std::malloc(size == 0 ? 1 : size);
  if (block == nullptr) return nullptr;
  RaiseTo(peak, held += static_cast<int64_t>(malloc_usable_size(block)));
  return block;
}
void* operator new(size_t size) {
  void* const block = operator new(size, std::nothrow);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}
void operator delete(void* block) noexcept { Free(block); }
void operator delete(void* block, size_t) noexcept { Free(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { Free(block); }

namespace tightfit {

void ResetHeapUse() {
  largest = 0;
  held_at_start = held;
  peak = held.load();
}
size_t LargestAllocation() { return largest; }
size_t PeakHeapBytes() { return static_cast<size_t>(peak - held_at_start); }

}  // namespace tightfit
