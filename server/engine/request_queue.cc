#include "server/engine/request_queue.h"

#include <algorithm>

namespace tightfit {

QueuedRequest RequestQueue::PopFront() {
  QueuedRequest request = std::move(requests_.front());
  requests_.pop_front();
  return request;
}

std::vector<std::pair<QueuedRequest, StatusCode>> RequestQueue::TakeEnded(Clock::time_point now,
                                                                          bool cancel_all) {
  std::vector<std::pair<QueuedRequest, StatusCode>> ended;
  for (auto it = requests_.begin(); it != requests_.end();) {
    if (cancel_all) it->cancellation->Cancel(StatusCode::kUnavailable);
    const StatusCode cause = it->cancellation->Check(now);
    if (cause == StatusCode::kOk) {
      ++it;
      continue;
    }
    ended.emplace_back(std::move(*it), cause);
    it = requests_.erase(it);
  }
  return ended;
}

std::vector<std::pair<std::shared_ptr<GenerationObserver>, int32_t>> RequestQueue::TakeMoves() {
  std::vector<std::pair<std::shared_ptr<GenerationObserver>, int32_t>> moves;
  int32_t position = 0;
  for (QueuedRequest& request : requests_) {
    if (request.announced_position != position) {
      request.announced_position = position;
      moves.emplace_back(request.observer, position);
    }
    ++position;
  }
  return moves;
}

std::set<std::string> RequestQueue::WantedModels() const {
  std::set<std::string> wanted;
  for (const QueuedRequest& request : requests_) wanted.insert(request.parameters->model);
  return wanted;
}

bool RequestQueue::Wants(std::string_view model) const {
  return std::ranges::any_of(
      requests_, [&](const QueuedRequest& request) { return request.parameters->model == model; });
}

}  // namespace tightfit
