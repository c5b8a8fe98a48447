// Follows the events of one request and tells at any time what a progress bar should show.
#ifndef TIGHTFIT_CLIENT_CLI_PROGRESS_TRACKER_H_
#define TIGHTFIT_CLIENT_CLI_PROGRESS_TRACKER_H_

#include "client/cli/progress_bar.h"
#include "client/cpp/generation_types.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace tightfit::cli {

// Not thread-safe.
class ProgressTracker {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  void Add(const client::Event& event, TimePoint now);

  // Between two events the times go on as the clock does. Requires an event before.
  ProgressState At(TimePoint now) const;

 private:
  void AddProgress(const client::Progress& progress);

  ProgressState latest_;
  TimePoint latest_time_{};
  std::optional<TimePoint> queued_since_;
  // Where denoising was first seen: step times are measured from there, without text encoding.
  std::chrono::nanoseconds denoise_start_{0};
  bool is_denoising_ = false;
  int32_t image_count_ = 1;
  int32_t images_done_ = 0;
};

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_PROGRESS_TRACKER_H_
