// EncodeWorkers: the few threads that turn pixels into files, so that the executor's thread never
// does.
#ifndef TIGHTFIT_SERVER_RPC_ENCODE_WORKERS_H_
#define TIGHTFIT_SERVER_RPC_ENCODE_WORKERS_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tightfit {

// Thread-safe. Tasks start in the order of Post. The queue is bounded by its callers: each posts
// its next task when the one before has ended.
class EncodeWorkers {
 public:
  explicit EncodeWorkers(int32_t thread_count);
  // Finishes the tasks that run, drops the others.
  ~EncodeWorkers();
  EncodeWorkers(const EncodeWorkers&) = delete;
  EncodeWorkers& operator=(const EncodeWorkers&) = delete;

  // A task has to tell by itself of its failures: what it throws ends here, not the process.
  void Post(std::function<void()> task);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_ENCODE_WORKERS_H_
