#include "client/weights/parallel_work.h"

#include <mutex>
#include <utility>

namespace tightfit::weights {

ParallelFor Interruptible(ParallelFor inner, std::stop_token stop,
                          std::function<void(int64_t done, int64_t count)> on_progress) {
  return [inner = std::move(inner), stop = std::move(stop), on_progress = std::move(on_progress)](
             int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& work) {
    std::mutex mutex;
    int64_t done = 0;  // guarded by mutex
    inner(count, grain, [&](int64_t begin, int64_t end) {
      if (stop.stop_requested()) return;
      work(begin, end);
      if (!on_progress) return;
      const std::lock_guard lock(mutex);
      done += end - begin;
      on_progress(done, count);
    });
  };
}

}  // namespace tightfit::weights
