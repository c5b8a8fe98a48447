// How far a long piece of work is, on stderr: a bar on a terminal, lines in a log, and nothing at
// all where the work is short.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_WORK_PROGRESS_H_
#define TIGHTFIT_CLIENT_WEIGHTS_WORK_PROGRESS_H_

#include "client/cli/progress_display.h"
#include "client/cli/terminal.h"
#include "server/base/clock.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace tightfit::weights {

// Not thread-safe.
class WorkProgress {
 public:
  using Write = std::function<void(std::string_view text)>;

  // The time until something is shown begins here. `width_columns` is asked at every drawing;
  // `clock` must outlive the object.
  WorkProgress(cli::ProgressMode mode, cli::TextStyle style, std::function<int()> width_columns,
               Write write, const Clock& clock = Clock::Real());
  // On stderr, as the terminal there can show it.
  static WorkProgress OnStderr(bool quiet);
  ~WorkProgress();
  WorkProgress(const WorkProgress&) = delete;
  WorkProgress& operator=(const WorkProgress&) = delete;

  // `step` of `step_count` are done; `fraction`, 0..1, is the share of all work, from which the
  // remaining time is told.
  void Show(const std::string& label, int64_t step, int64_t step_count, double fraction);
  // Takes the bar away.
  void Finish();

 private:
  const cli::ProgressMode mode_;
  const cli::TextStyle style_;
  const std::function<int()> width_columns_;
  const Write write_;
  const Clock& clock_;
  const Clock::time_point start_;
  std::optional<Clock::time_point> last_shown_;
  bool is_drawn_ = false;
};

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_WORK_PROGRESS_H_
