#include "server/rpc/decode_queue.h"

#include <chrono>
#include <utility>

namespace tightfit {

Status DecodeQueue::Post(std::function<void()> task) {
  constexpr std::chrono::seconds kRetry{1};
  if (waiting_.fetch_add(1) >= max_waiting_) {
    --waiting_;
    return Status(StatusCode::kResourceExhausted, "QUEUE_FULL",
                  "too many requests wait for their images to be decoded")
        .WithRetryAfter(kRetry);
  }
  worker_.Post([this, task = std::move(task)] {
    try {
      task();
    } catch (...) {
      // As EncodeWorkers: one request's.
    }
    --waiting_;
  });
  return OkStatus();
}

}  // namespace tightfit
