#include "server/app/heap_trimmer.h"

#include <malloc.h>

#include <chrono>
#include <cstddef>

namespace tightfit {
namespace {

constexpr std::chrono::milliseconds kInterval{200};
constexpr size_t kMaxFreeBytes = 32 << 20;
// From here on a block is a mapping of its own, and goes when it is freed: images, and weights
// while they are packed.
constexpr int kMappedBytes = 1 << 20;

}  // namespace

void SetUpHeap() { mallopt(M_MMAP_THRESHOLD, kMappedBytes); }

HeapTrimmer::HeapTrimmer() : thread_([this] { Run(); }) {}

HeapTrimmer::~HeapTrimmer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void HeapTrimmer::Run() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kInterval, [this] { return stopping_; })) {
    if (mallinfo2().fordblks > kMaxFreeBytes) malloc_trim(0);
  }
}

}  // namespace tightfit
