#include "server/engine/progress_watch.h"

#include <algorithm>

namespace tightfit {

std::string_view DeviceCallName(DeviceCall call) {
  switch (call) {
    case DeviceCall::kModelLoad:
      return "model_load";
    case DeviceCall::kTextEncode:
      return "text_encode";
    case DeviceCall::kDenoise:
      return "denoise";
    case DeviceCall::kVaeDecode:
      return "vae_decode";
    case DeviceCall::kModelEvict:
      return "model_evict";
    case DeviceCall::kCacheDrop:
      return "cache_drop";
  }
  return "unknown";
}

void ProgressWatch::Begin(const std::string& model, DeviceCall what,
                          std::chrono::nanoseconds expected) {
  const Clock::time_point now = clock_->Now();
  const std::lock_guard lock(mutex_);
  LeaveOutStopLocked(now);
  call_ = {
      .model = model, .what = what, .expected = expected, .began_at = now, .progressed_at = now};
}

void ProgressWatch::Beat() {
  const Clock::time_point now = clock_->Now();
  const std::lock_guard lock(mutex_);
  LeaveOutStopLocked(now);
  if (call_.has_value()) call_->progressed_at = now;
}

void ProgressWatch::End() {
  const Clock::time_point now = clock_->Now();
  const std::lock_guard lock(mutex_);
  LeaveOutStopLocked(now);
  if (call_.has_value() && call_->what == DeviceCall::kDenoise) {
    slowest_step_ = std::max<std::chrono::nanoseconds>(slowest_step_, now - call_->began_at);
  }
  call_.reset();
}

void ProgressWatch::LeaveOutStopLocked(Clock::time_point now) {
  if (!looked_at_.has_value() || now - *looked_at_ <= longest_gap_) return;
  if (call_.has_value()) {
    const std::chrono::nanoseconds stop = now - std::max(*looked_at_, call_->progressed_at);
    call_->began_at += stop;
    call_->progressed_at += stop;
  }
  looked_at_ = now;
}

std::optional<ProgressWatch::OverdueCall> ProgressWatch::FindOverdue() {
  if (shortest_limit_.count() == 0) return std::nullopt;
  const Clock::time_point now = clock_->Now();
  const std::lock_guard lock(mutex_);
  LeaveOutStopLocked(now);
  looked_at_ = now;
  if (!call_.has_value()) return std::nullopt;
  const std::chrono::nanoseconds since_progress = now - call_->progressed_at;
  const std::chrono::nanoseconds longest = std::max(slowest_step_, call_->expected);
  if (since_progress <= std::max(shortest_limit_, kPatience * longest)) return std::nullopt;
  return OverdueCall{call_->model, call_->what, since_progress};
}

}  // namespace tightfit
