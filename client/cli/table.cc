#include "client/cli/table.h"

#include <algorithm>
#include <utility>

namespace tightfit::cli {
namespace {

constexpr int kGap = 2;
constexpr int kFoldIndent = 4;

// Columns [begin, end) that share a line.
struct LineOfColumns {
  size_t begin = 0;
  size_t end = 0;
};

std::vector<LineOfColumns> Fold(const std::vector<int>& widths, int width_columns) {
  std::vector<LineOfColumns> lines = {{0, 0}};
  int used = 0;
  for (size_t i = 0; i < widths.size(); ++i) {
    const int wanted = widths[i] + (lines.back().end > lines.back().begin ? kGap : 0);
    if (width_columns > 0 && i > 0 && used + wanted > width_columns) {
      lines.push_back({i, i});
      used = kFoldIndent + widths[i];
    } else {
      used += wanted;
    }
    lines.back().end = i + 1;
  }
  return lines;
}

std::string RenderLine(const std::vector<Cell>& row, const std::vector<Column>& columns,
                       const std::vector<int>& widths, LineOfColumns part, const TextStyle& style) {
  std::string line;
  int missing_blanks = part.begin > 0 ? kFoldIndent : 0;  // written only once a text follows them
  for (size_t i = part.begin; i < part.end; ++i) {
    const int padding = widths[i] - ColumnCount(row[i].text);
    const bool right = columns[i].align == Align::kRight;
    if (i > part.begin) missing_blanks += kGap;
    if (right) missing_blanks += padding;
    if (!row[i].text.empty()) {
      line.append(static_cast<size_t>(missing_blanks), ' ');
      line += style.Paint(row[i].text, row[i].colour);
      missing_blanks = 0;
    }
    if (!right) missing_blanks += padding;
  }
  return line;
}

// Lines of a folded row without any text are left out.
std::string RenderRow(const std::vector<Cell>& row, const std::vector<Column>& columns,
                      const std::vector<int>& widths, const std::vector<LineOfColumns>& lines,
                      const TextStyle& style) {
  std::string text;
  for (const LineOfColumns& part : lines) {
    const std::string line = RenderLine(row, columns, widths, part, style);
    if (part.begin == 0 || !line.empty()) text += line + "\n";
  }
  return text;
}

}  // namespace

void Table::AddRow(std::vector<Cell> row) {
  row.resize(columns_.size());
  for (Cell& cell : row) cell.text = Printable(cell.text);
  rows_.push_back(std::move(row));
}

std::string Table::Render(const TextStyle& style, int width_columns) const {
  std::vector<int> widths;
  std::vector<Cell> headings;
  for (const Column& column : columns_) {
    widths.push_back(ColumnCount(column.heading));
    headings.push_back({column.heading, Colour::kBold});
  }
  for (const std::vector<Cell>& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], ColumnCount(row[i].text));
    }
  }
  const std::vector<LineOfColumns> lines = Fold(widths, width_columns);
  std::string text = RenderRow(headings, columns_, widths, lines, style);
  for (const std::vector<Cell>& row : rows_) {
    text += RenderRow(row, columns_, widths, lines, style);
  }
  return text;
}

}  // namespace tightfit::cli
