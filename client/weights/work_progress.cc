#include "client/weights/work_progress.h"

#include "client/cli/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

namespace tightfit::weights {
namespace {

using std::chrono::nanoseconds;

constexpr std::chrono::seconds kSilence{2};  // shorter work shows nothing
constexpr std::chrono::milliseconds kRedrawInterval{200};
constexpr std::chrono::seconds kLineInterval{5};

}  // namespace

WorkProgress::WorkProgress(cli::ProgressMode mode, cli::TextStyle style,
                           std::function<int()> width_columns, Write write, const Clock& clock)
    : mode_(mode),
      style_(style),
      width_columns_(std::move(width_columns)),
      write_(std::move(write)),
      clock_(clock),
      start_(clock.Now()) {}

WorkProgress WorkProgress::OnStderr(bool quiet) {
  const cli::Terminal terminal(STDERR_FILENO);
  const cli::ProgressMode mode = quiet                       ? cli::ProgressMode::kQuiet
                                 : terminal.is_interactive() ? cli::ProgressMode::kBar
                                                             : cli::ProgressMode::kLines;
  return WorkProgress(
      mode, terminal.style(), [terminal] { return terminal.WidthColumns(); },
      [](std::string_view text) {
        std::fwrite(text.data(), 1, text.size(), stderr);
        std::fflush(stderr);
      });
}

WorkProgress::~WorkProgress() { Finish(); }

void WorkProgress::Show(const std::string& label, int64_t step, int64_t step_count,
                        double fraction) {
  if (mode_ == cli::ProgressMode::kQuiet) return;
  const Clock::time_point now = clock_.Now();
  const bool is_bar = mode_ == cli::ProgressMode::kBar;
  const nanoseconds interval = is_bar ? nanoseconds(kRedrawInterval) : nanoseconds(kLineInterval);
  if (now - start_ < kSilence || (last_shown_.has_value() && now - *last_shown_ < interval)) return;
  last_shown_ = now;

  cli::ProgressState state{.label = label,
                           .step = static_cast<int32_t>(step),
                           .step_count = static_cast<int32_t>(step_count),
                           .elapsed = now - start_};
  if (fraction > 0 && fraction <= 1) {
    const double elapsed = static_cast<double>(state.elapsed.count());
    state.remaining = nanoseconds(static_cast<int64_t>(elapsed * (1 - fraction) / fraction));
  }
  if (!is_bar) {
    write_(RenderProgressLine(state) + "\n");
    return;
  }
  // Room for the "^C" that a terminal echoes.
  const int columns = std::max(width_columns_() - 3, 1);
  write_("\r" + RenderProgressBar(state, columns, style_) + "\x1b[K");
  is_drawn_ = true;
}

void WorkProgress::Finish() {
  if (!is_drawn_) return;
  write_("\r\x1b[K");
  is_drawn_ = false;
}

}  // namespace tightfit::weights
