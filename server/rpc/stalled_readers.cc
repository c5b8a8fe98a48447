#include "server/rpc/stalled_readers.h"

#include <exception>
#include <optional>
#include <utility>

namespace tightfit {

StalledReaders::StalledReaders(const Clock* clock, std::chrono::nanoseconds limit,
                               std::chrono::milliseconds interval, const Clock* process_clock)
    : clock_(clock),
      limit_(limit),
      interval_(interval),
      process_clock_(process_clock),
      thread_([this] { Run(); }) {}

StalledReaders::~StalledReaders() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void StalledReaders::Watch(std::weak_ptr<WatchedStream> stream) {
  const std::lock_guard lock(mutex_);
  streams_.push_back(std::move(stream));
}

void StalledReaders::Run() {
  Clock::time_point looked_at = process_clock_->Now();
  std::optional<Clock::time_point> went_on_at;  // after the last stop
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (wake_.wait_for(lock, interval_, [this] { return stopping_; })) return;
    }
    try {
      const Clock::time_point now = clock_->Now();
      const Clock::time_point process_now = process_clock_->Now();
      if (process_now - std::exchange(looked_at, process_now) > kLongestGap) went_on_at = now;
      if (went_on_at.has_value() && now - *went_on_at < limit_) continue;
      for (const std::shared_ptr<WatchedStream>& stream : Live()) {
        stream->CancelIfStalled(now, limit_);
      }
    } catch (const std::exception&) {  // no memory: they are looked at again
    }
  }
}

std::vector<std::shared_ptr<WatchedStream>> StalledReaders::Live() {
  std::vector<std::shared_ptr<WatchedStream>> live;
  const std::lock_guard lock(mutex_);
  std::erase_if(streams_, [&](const std::weak_ptr<WatchedStream>& stream) {
    std::shared_ptr<WatchedStream> locked = stream.lock();
    if (locked == nullptr) return true;
    live.push_back(std::move(locked));
    return false;
  });
  return live;
}

}  // namespace tightfit
