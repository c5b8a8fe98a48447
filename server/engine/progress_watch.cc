#include "server/engine/progress_watch.h"

#include <algorithm>

namespace tightfit {

void ProgressWatch::Begin(const std::string& model, Stage stage) {
  const Clock::time_point now = clock_->Now();
  const std::lock_guard lock(mutex_);
  call_ = {.model = model, .stage = stage, .began_at = now, .progressed_at = now};
}

void ProgressWatch::Beat() {
  const Clock::time_point now = clock_->Now();
  const std::lock_guard lock(mutex_);
  if (call_.has_value()) call_->progressed_at = now;
}

void ProgressWatch::End() {
  const Clock::time_point now = clock_->Now();
  const std::lock_guard lock(mutex_);
  if (call_.has_value() && call_->stage == Stage::kDenoise) {
    slowest_step_ = std::max<std::chrono::nanoseconds>(slowest_step_, now - call_->began_at);
  }
  call_.reset();
}

std::optional<ProgressWatch::OverdueCall> ProgressWatch::FindOverdue() const {
  if (shortest_limit_.count() == 0) return std::nullopt;
  const std::lock_guard lock(mutex_);
  if (!call_.has_value()) return std::nullopt;
  const std::chrono::nanoseconds since_progress = clock_->Now() - call_->progressed_at;
  if (since_progress <= std::max(shortest_limit_, kSlowestStepFactor * slowest_step_)) {
    return std::nullopt;
  }
  return OverdueCall{call_->model, call_->stage, since_progress};
}

}  // namespace tightfit
