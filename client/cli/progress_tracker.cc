#include "client/cli/progress_tracker.h"

#include "client/cli/measure_text.h"

#include <algorithm>

namespace tightfit::cli {
namespace {

std::string StageLabel(client::Stage stage) {
  switch (stage) {
    case client::Stage::kModelLoad:
      return "load model";
    case client::Stage::kTextEncode:
      return "encode text";
    case client::Stage::kDenoise:
      return "denoise";
    case client::Stage::kVaeDecode:
      return "decode image";
    case client::Stage::kImageEncode:
      return "write PNG";
    case client::Stage::kUnspecified:
      break;
  }
  return "working";
}

}  // namespace

void ProgressTracker::Add(const client::Event& event, TimePoint now) {
  if (const auto* queued = std::get_if<client::Queued>(&event)) {
    if (!queued_since_.has_value()) queued_since_ = now;
    latest_ = {};
    latest_.label = queued->position > 0
                        ? "queued, " + CountedText(queued->position, "request") + " ahead"
                        : "waiting to start";
    latest_.elapsed = now - *queued_since_;
  } else if (const auto* started = std::get_if<client::Started>(&event)) {
    latest_ = {};
    latest_.label = StageLabel(client::Stage::kTextEncode);
    latest_.step_count = started->parameters.step_count;
    image_count_ = started->parameters.image_count;
  } else if (const auto* progress = std::get_if<client::Progress>(&event)) {
    AddProgress(*progress);
  } else if (std::holds_alternative<client::Image>(event)) {
    ++images_done_;
    return;
  } else {
    return;
  }
  latest_time_ = now;
}

void ProgressTracker::AddProgress(const client::Progress& progress) {
  const std::chrono::nanoseconds previous_elapsed = latest_.elapsed;
  latest_.label = StageLabel(progress.stage);
  latest_.step = progress.step;
  if (progress.step_count > 0) latest_.step_count = progress.step_count;
  latest_.elapsed = progress.elapsed;
  latest_.remaining = progress.remaining;
  if (progress.stage != client::Stage::kDenoise) return;

  if (!is_denoising_) {
    is_denoising_ = true;
    // The first event may come after the first step: then that step began at the event before.
    denoise_start_ = progress.step == 0 ? progress.elapsed : previous_elapsed;
  }
  if (progress.step > 0) {
    latest_.per_step = (progress.elapsed - denoise_start_) / progress.step;
  }
}

ProgressState ProgressTracker::At(TimePoint now) const {
  ProgressState state = latest_;
  const std::chrono::nanoseconds since = std::max(now - latest_time_, TimePoint::duration(0));
  state.elapsed += since;
  // Servers estimate the steps; after the last one nobody knows.
  if (state.step >= state.step_count) state.remaining.reset();
  if (state.remaining.has_value()) {
    state.remaining = std::max(*state.remaining - since, std::chrono::nanoseconds(0));
  }
  if (image_count_ > 1 && state.label == "decode image") {
    state.label += " " + std::to_string(std::min(images_done_ + 1, image_count_)) + "/" +
                   std::to_string(image_count_);
  }
  return state;
}

}  // namespace tightfit::cli
