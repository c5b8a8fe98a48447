#include "client/cli/progress_display.h"

#include "client/cli/progress_bar.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace tightfit::cli {
namespace {

constexpr std::chrono::milliseconds kRedrawInterval{200};
// A load tells of itself hundreds of times a second; each bar is 150 bytes over the network.
constexpr std::chrono::milliseconds kShortestRedraw{100};
constexpr std::chrono::seconds kLineInterval{1};

std::string StartedLine(const client::Started& started) {
  const client::ResolvedParameters& parameters = started.parameters;
  std::string line =
      fmt::format("{} {}x{} px, {} steps of {}, guidance {:g}, seed {}", parameters.model,
                  parameters.width_px, parameters.height_px, parameters.step_count,
                  parameters.sampler, parameters.guidance_scale, parameters.seed);
  if (parameters.image_count > 1) line += fmt::format(", {} images", parameters.image_count);
  return Printable(line + fmt::format("  [{}]", started.request_id));
}

}  // namespace

ProgressDisplay::ProgressDisplay(ProgressMode mode, TextStyle style,
                                 std::function<int()> width_columns, Write write,
                                 const Clock& clock)
    : mode_(mode),
      style_(style),
      width_columns_(std::move(width_columns)),
      write_(std::move(write)),
      clock_(clock) {
  if (mode_ == ProgressMode::kBar) {
    ticker_ = std::jthread([this](std::stop_token stop) { Redraw(std::move(stop)); });
  }
}

ProgressDisplay::~ProgressDisplay() { Finish(); }

void ProgressDisplay::OnEvent(const client::Event& event) {
  if (mode_ == ProgressMode::kQuiet) return;
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = clock_.Now();
  if (const auto* started = std::get_if<client::Started>(&event)) {
    Erase();
    write_(StartedLine(*started) + "\n");
    last_line_ = now;
  }
  tracker_.Add(event, now);
  is_active_ = true;
  if (mode_ == ProgressMode::kBar) {
    DrawIfDue();
    return;
  }
  const bool is_line = std::holds_alternative<client::Queued>(event) ||
                       std::holds_alternative<client::Progress>(event);
  if (is_line && (!last_line_.has_value() || now - *last_line_ >= kLineInterval)) {
    write_(RenderProgressLine(tracker_.At(now)) + "\n");
    last_line_ = now;
  }
}

void ProgressDisplay::Say(std::string_view line) {
  if (mode_ != ProgressMode::kQuiet) Warn(line);
}

void ProgressDisplay::Warn(std::string_view line) {
  const std::lock_guard lock(mutex_);
  Erase();
  write_(std::string(line) + "\n");
  if (is_active_ && mode_ == ProgressMode::kBar) Draw();
}

void ProgressDisplay::Finish() {
  {
    const std::lock_guard lock(mutex_);
    Erase();
    is_active_ = false;
  }
  if (ticker_.joinable()) {
    ticker_.request_stop();
    ticker_.join();
  }
}

void ProgressDisplay::Draw() {
  // Room for the "^C" that a terminal echoes, without wrapping to a line that Erase does not reach.
  const int columns = std::max(width_columns_() - 3, 1);
  const Clock::time_point now = clock_.Now();
  write_("\r" + RenderProgressBar(tracker_.At(now), columns, style_) + "\x1b[K");
  is_drawn_ = true;
  last_drawn_ = now;
}

void ProgressDisplay::DrawIfDue() {
  if (!is_drawn_ || clock_.Now() - last_drawn_ >= kShortestRedraw) Draw();
}

void ProgressDisplay::Erase() {
  if (!is_drawn_) return;
  write_("\r\x1b[K");
  is_drawn_ = false;
}

void ProgressDisplay::Redraw(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    wake_.wait_for(lock, stop, kRedrawInterval, [] { return false; });
    if (!stop.stop_requested() && is_active_) DrawIfDue();
  }
}

}  // namespace tightfit::cli
