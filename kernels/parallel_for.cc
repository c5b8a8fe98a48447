#include "kernels/codec.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace tightfit {

ParallelFor InThreads(int thread_count) {
  if (thread_count <= 1) return {};
  return [thread_count](int64_t count, int64_t grain,
                        const std::function<void(int64_t, int64_t)>& work) {
    grain = std::max<int64_t>(grain, 1);
    std::atomic<int64_t> next{0};
    const auto take_pieces = [&] {
      for (int64_t begin = next.fetch_add(grain); begin < count; begin = next.fetch_add(grain)) {
        work(begin, std::min(begin + grain, count));
      }
    };
    const int64_t pieces = (count + grain - 1) / grain;
    std::vector<std::jthread> threads;
    for (int64_t i = 1; i < std::min<int64_t>(thread_count, pieces); ++i) {
      threads.emplace_back(take_pieces);
    }
    take_pieces();
  };
}

}  // namespace tightfit
