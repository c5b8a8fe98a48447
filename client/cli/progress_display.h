// Shows a running request on a terminal (one line, redrawn in place) or in a log (plain lines).
#ifndef TIGHTFIT_CLIENT_CLI_PROGRESS_DISPLAY_H_
#define TIGHTFIT_CLIENT_CLI_PROGRESS_DISPLAY_H_

#include "client/cli/progress_tracker.h"
#include "client/cli/terminal.h"
#include "client/cpp/generation_types.h"
#include "server/base/clock.h"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace tightfit::cli {

enum class ProgressMode {
  kQuiet,  // nothing but warnings
  kLines,  // a line at the start and then at most one a second
  kBar,    // redrawn with the events and the time, at most ten times a second
};

// Thread-safe.
class ProgressDisplay {
 public:
  using Write = std::function<void(std::string_view text)>;

  // `width_columns` is asked at every drawing. `clock` must outlive the display.
  ProgressDisplay(ProgressMode mode, TextStyle style, std::function<int()> width_columns,
                  Write write, const Clock& clock = Clock::Real());
  ~ProgressDisplay();
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  void OnEvent(const client::Event& event);
  // A line of its own, above the bar.
  void Say(std::string_view line);
  // The same, also in kQuiet: what nobody should miss.
  void Warn(std::string_view line);
  // Takes the bar away; nothing is drawn afterwards but by Say.
  void Finish();

 private:
  void Draw();       // the bar; requires mutex_
  void DrawIfDue();  // what is left out is drawn later by the ticker; requires mutex_
  void Erase();      // requires mutex_
  void Redraw(std::stop_token stop);

  const ProgressMode mode_;
  const TextStyle style_;
  const std::function<int()> width_columns_;
  const Write write_;
  const Clock& clock_;

  std::mutex mutex_;
  ProgressTracker tracker_;
  bool is_active_ = false;  // an event came, and no Finish yet
  bool is_drawn_ = false;
  Clock::time_point last_drawn_{};
  std::optional<Clock::time_point> last_line_;
  std::condition_variable_any wake_;
  std::jthread ticker_;
};

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_PROGRESS_DISPLAY_H_
