// WaitPrediction: from the durations of past requests, how long new ones wait.
#ifndef TIGHTFIT_SERVER_ENGINE_WAIT_PREDICTION_H_
#define TIGHTFIT_SERVER_ENGINE_WAIT_PREDICTION_H_

#include <chrono>
#include <cstdint>
#include <deque>

namespace tightfit {

// Not thread-safe.
class WaitPrediction {
 public:
  // `places`: requests that run together, at least 1.
  explicit WaitPrediction(int32_t places) : places_(places > 1 ? places : 1) {}

  // A request that ended well ran for so long.
  void Add(std::chrono::nanoseconds duration);

  // Until a request starts that has `ahead` others before it, running ones included. Zero before
  // the first request has ended.
  std::chrono::nanoseconds ExpectedWait(int64_t ahead) const;

  // When to come back to a queue that is full: a place gets free when a running request ends.
  std::chrono::milliseconds RetryDelay() const;

 private:
  std::chrono::nanoseconds MeanDuration() const;

  const int64_t places_;
  std::deque<std::chrono::nanoseconds> recent_durations_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_WAIT_PREDICTION_H_
