#include "client/cli/table.h"

#include <algorithm>
#include <utility>

namespace tightfit::cli {
namespace {

std::string RenderRow(const std::vector<Cell>& row, const std::vector<Column>& columns,
                      const std::vector<int>& widths, const TextStyle& style) {
  std::string line;
  int missing_blanks = 0;  // written only once a text follows them
  for (size_t i = 0; i < columns.size(); ++i) {
    const int padding = widths[i] - ColumnCount(row[i].text);
    const bool right = columns[i].align == Align::kRight;
    if (i > 0) missing_blanks += 2;
    if (right) missing_blanks += padding;
    if (!row[i].text.empty()) {
      line.append(static_cast<size_t>(missing_blanks), ' ');
      line += style.Paint(row[i].text, row[i].colour);
      missing_blanks = 0;
    }
    if (!right) missing_blanks += padding;
  }
  return line + "\n";
}

}  // namespace

void Table::AddRow(std::vector<Cell> row) {
  row.resize(columns_.size());
  for (Cell& cell : row) cell.text = Printable(cell.text);
  rows_.push_back(std::move(row));
}

std::string Table::Render(const TextStyle& style) const {
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
  std::string text = RenderRow(headings, columns_, widths, style);
  for (const std::vector<Cell>& row : rows_) text += RenderRow(row, columns_, widths, style);
  return text;
}

}  // namespace tightfit::cli
