#include "client/cli/progress_bar.h"

#include "client/cli/measure_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

namespace tightfit::cli {
namespace {

constexpr int kLabelColumns = 12;  // the longest stage, "decode image"
constexpr int kMinBarColumns = 10;
constexpr int kMaxBarColumns = 40;

std::string Repeat(std::string_view piece, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += piece;
  return text;
}

std::string RenderBar(double fraction, int columns, const TextStyle& style) {
  if (!style.unicode) {
    const int inner = columns - 2;
    const int filled = static_cast<int>(fraction * inner);
    return "[" + Repeat("#", filled) + Repeat("-", inner - filled) + "]";
  }
  const int halves = static_cast<int>(fraction * columns * 2);
  const std::string filled = Repeat("━", halves / 2) + (halves % 2 == 1 ? "╸" : "");
  return style.Paint(filled, Colour::kGreen) + Repeat("─", columns - (halves + 1) / 2);
}

std::string CountOf(const ProgressState& state) {
  if (state.step_count <= 0) return "";
  const std::string count = fmt::format("{}", state.step_count);
  return fmt::format("{:>{}}/{}", state.step, count.size(), count);
}

}  // namespace

std::string RenderProgressBar(const ProgressState& state, int width_columns,
                              const TextStyle& style) {
  const std::string count = CountOf(state);
  const std::string label = fmt::format("{:<{}}", state.label, kLabelColumns);
  int used = ColumnCount(label) + (count.empty() ? 0 : 2 + ColumnCount(count));
  if (used > width_columns) {
    // Not even the label fits.
    const std::string& shortest = count.empty() ? state.label : count;
    return ColumnCount(shortest) <= width_columns ? shortest : "";
  }

  // Fixed widths keep the line from jumping at each redraw.
  std::string elapsed = fmt::format("  {:>7}", DurationText(state.elapsed));
  std::string per_step =
      state.per_step ? fmt::format("  {:>11}", StepTimeText(*state.per_step)) : "";
  std::string remaining =
      state.remaining ? fmt::format("  {:>7} left", DurationText(*state.remaining)) : "";
  const int bar_reserve = count.empty() ? 0 : 2 + kMinBarColumns;
  bool full = false;
  for (std::string* part : std::array{&remaining, &per_step, &elapsed}) {
    const int columns = ColumnCount(*part);
    full = full || used + bar_reserve + columns > width_columns;
    if (full) {
      part->clear();
    } else {
      used += columns;
    }
  }

  std::string bar;
  const int bar_columns = std::min(width_columns - used - 2, kMaxBarColumns);
  if (!count.empty() && bar_columns >= kMinBarColumns) {
    const double fraction = static_cast<double>(state.step) / state.step_count;
    bar = "  " + RenderBar(std::clamp(fraction, 0.0, 1.0), bar_columns, style);
  }
  return label + bar + (count.empty() ? "" : "  " + count) + per_step + elapsed + remaining;
}

std::string RenderProgressLine(const ProgressState& state) {
  std::string line = state.label;
  if (state.step_count > 0) line += fmt::format(" {}/{}", state.step, state.step_count);
  if (state.per_step) line += ", " + StepTimeText(*state.per_step);
  line += ", " + DurationText(state.elapsed);
  if (state.remaining) line += ", " + DurationText(*state.remaining) + " left";
  return line;
}

}  // namespace tightfit::cli
