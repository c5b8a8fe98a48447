// One line that shows how far a request is.
#ifndef TIGHTFIT_CLIENT_CLI_PROGRESS_BAR_H_
#define TIGHTFIT_CLIENT_CLI_PROGRESS_BAR_H_

#include "client/cli/terminal.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace tightfit::cli {

struct ProgressState {
  std::string label;  // what happens: "denoise"
  int32_t step = 0;   // finished steps of step_count; no count and no bar while step_count is 0
  int32_t step_count = 0;
  std::chrono::nanoseconds elapsed{0};
  std::optional<std::chrono::nanoseconds> per_step;
  std::optional<std::chrono::nanoseconds> remaining;
};

// At most `width_columns` columns, no newline. Where room is short, first the elapsed time goes,
// then the time per step, the remaining time, the bar and the label; the count stays to the last.
//   denoise       ━━━━━━━━━━━━━╸────────────  12/25  0.84 s/step   10.1 s   10.9 s left
//   denoise       [############-----------]  12/25  0.84 s/step   10.1 s   10.9 s left
std::string RenderProgressBar(const ProgressState& state, int width_columns,
                              const TextStyle& style);

// The same without a bar, for logs: "denoise 12/25, 0.84 s/step, 10.1 s, 10.9 s left".
std::string RenderProgressLine(const ProgressState& state);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_PROGRESS_BAR_H_
