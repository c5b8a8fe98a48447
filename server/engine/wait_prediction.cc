#include "server/engine/wait_prediction.h"

#include <algorithm>

namespace tightfit {
namespace {

constexpr size_t kRecentDurations = 16;
constexpr std::chrono::milliseconds kShortestRetry{100};
constexpr std::chrono::milliseconds kDefaultRetry{1000};
constexpr std::chrono::milliseconds kLongestRetry{60000};

}  // namespace

void WaitPrediction::Add(std::chrono::nanoseconds duration) {
  recent_durations_.push_back(duration);
  if (recent_durations_.size() > kRecentDurations) recent_durations_.pop_front();
}

std::chrono::nanoseconds WaitPrediction::ExpectedWait(int64_t ahead) const {
  if (ahead < places_) return {};
  return MeanDuration() * (ahead - places_ + 1) / places_;
}

std::chrono::milliseconds WaitPrediction::RetryDelay() const {
  if (recent_durations_.empty()) return kDefaultRetry;
  return std::clamp(std::chrono::duration_cast<std::chrono::milliseconds>(MeanDuration() / places_),
                    kShortestRetry, kLongestRetry);
}

std::chrono::nanoseconds WaitPrediction::MeanDuration() const {
  std::chrono::nanoseconds sum{0};
  for (const std::chrono::nanoseconds duration : recent_durations_) sum += duration;
  return sum / std::max<int64_t>(std::ssize(recent_durations_), 1);
}

}  // namespace tightfit
