// RequestQueue: requests that wait for their turn, first come, first served.
#ifndef TIGHTFIT_SERVER_ENGINE_REQUEST_QUEUE_H_
#define TIGHTFIT_SERVER_ENGINE_REQUEST_QUEUE_H_

#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/engine/generation_run.h"

#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tightfit {

// Not thread-safe.
class RequestQueue {
 public:
  bool empty() const { return requests_.empty(); }
  int32_t size() const { return static_cast<int32_t>(requests_.size()); }
  // Requires that it is not empty.
  QueuedRequest& front() { return requests_.front(); }

  void Push(QueuedRequest request) { requests_.push_back(std::move(request)); }
  QueuedRequest PopFront();

  // Removes those that were cancelled or whose deadline has passed; each with its cause.
  // `cancel_all` cancels every one of them first (UNAVAILABLE).
  std::vector<std::pair<QueuedRequest, StatusCode>> TakeEnded(Clock::time_point now,
                                                              bool cancel_all);

  // Those whose position is another than was last told, with it; from then on it counts as told.
  std::vector<std::pair<std::shared_ptr<GenerationObserver>, int32_t>> TakeMoves();

  std::set<std::string> WantedModels() const;
  bool Wants(std::string_view model) const;

 private:
  std::deque<QueuedRequest> requests_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_REQUEST_QUEUE_H_
