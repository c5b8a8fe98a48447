#include "server/rpc/encode_workers.h"

#include <algorithm>
#include <utility>

namespace tightfit {

EncodeWorkers::EncodeWorkers(int32_t thread_count) {
  for (int32_t i = 0; i < std::max(thread_count, 1); ++i) {
    threads_.emplace_back([this] { Run(); });
  }
}

EncodeWorkers::~EncodeWorkers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void EncodeWorkers::Post(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void EncodeWorkers::Run() {
  while (true) {
    std::function<void()> task;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (stopping_) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    try {
      task();
    } catch (...) {
      // One request's.
    }
  }
}

}  // namespace tightfit
