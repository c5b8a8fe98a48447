// GoodClients: what honest clients see while something else goes on.
#ifndef TIGHTFIT_TESTS_INTEGRATION_GOOD_CLIENTS_H_
#define TIGHTFIT_TESTS_INTEGRATION_GOOD_CLIENTS_H_

#include <grpcpp/channel.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace tightfit {

// Each of `channels` asks for a small image, again and again, with a pause of 10 ms between two
// calls, until Stop.
class GoodClients {
 public:
  explicit GoodClients(const std::vector<std::shared_ptr<grpc::Channel>>& channels);
  ~GoodClients();

  void Stop();

  // After Stop.
  size_t call_count() const { return durations_.size(); }
  std::chrono::nanoseconds Percentile(double part) const;
  // The first call that failed; empty where none did.
  const std::string& failure() const { return failure_; }

 private:
  void Ask(const std::shared_ptr<grpc::Channel>& channel);

  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::vector<std::chrono::nanoseconds> durations_;
  std::string failure_;
  std::vector<std::thread> threads_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_INTEGRATION_GOOD_CLIENTS_H_
