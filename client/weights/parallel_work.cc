#include "client/weights/parallel_work.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace tightfit::weights {

ParallelFor Interruptible(ParallelFor inner, std::stop_token stop,
                          std::function<void(int64_t done, int64_t count)> on_progress) {
  return [inner = std::move(inner), stop = std::move(stop), on_progress = std::move(on_progress)](
             int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& work) {
    std::mutex mutex;
    int64_t done = 0;  // guarded by mutex
    const auto work_unless_stopped = [&](int64_t begin, int64_t end) {
      if (stop.stop_requested()) return;
      work(begin, end);
      if (!on_progress) return;
      const std::lock_guard lock(mutex);
      done += end - begin;
      on_progress(done, count);
    };
    if (inner) {
      inner(count, grain, work_unless_stopped);
      return;
    }
    // An empty one would do all at once: pieces can be left out, and show how far it is.
    const int64_t piece = std::max({grain, count / 100, int64_t{1}});
    for (int64_t begin = 0; begin < count; begin += piece) {
      work_unless_stopped(begin, std::min(begin + piece, count));
    }
  };
}

}  // namespace tightfit::weights
