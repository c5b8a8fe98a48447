// StalledReaders: looks at all streams once in a while and cancels those whose reader takes no
// data.
#ifndef TIGHTFIT_SERVER_RPC_STALLED_READERS_H_
#define TIGHTFIT_SERVER_RPC_STALLED_READERS_H_

#include "server/base/clock.h"

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace tightfit {

// A stream that may wait for its reader.
class WatchedStream {
 public:
  virtual ~WatchedStream() = default;
  // Cancels the stream when its write has been in flight for `limit` or longer.
  virtual void CancelIfStalled(Clock::time_point now, std::chrono::nanoseconds limit) = 0;
};

// Thread-safe. Owns one thread.
class StalledReaders {
 public:
  // The clocks must outlive this. Streams are looked at every `interval` of real time; how long a
  // write takes is measured on `clock`. If more than kLongestGap of `process_clock` passed between
  // two looks, the process was stopped: no reader could take anything, and each has the whole limit
  // again.
  static constexpr std::chrono::seconds kLongestGap{2};
  StalledReaders(const Clock* clock, std::chrono::nanoseconds limit,
                 std::chrono::milliseconds interval, const Clock* process_clock = &Clock::Real());
  ~StalledReaders();
  StalledReaders(const StalledReaders&) = delete;
  StalledReaders& operator=(const StalledReaders&) = delete;

  void Watch(std::weak_ptr<WatchedStream> stream);

 private:
  void Run();
  // The streams that still live.
  std::vector<std::shared_ptr<WatchedStream>> Live();

  const Clock* const clock_;
  const std::chrono::nanoseconds limit_;
  const std::chrono::milliseconds interval_;
  const Clock* const process_clock_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::vector<std::weak_ptr<WatchedStream>> streams_;
  std::thread thread_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_STALLED_READERS_H_
