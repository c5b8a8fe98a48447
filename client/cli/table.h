// A plain table: columns as wide as their widest cell, two spaces between them, no lines. Where it
// is wider than the terminal, a row takes several lines: as many columns as fit, then the next
// ones, indented.
#ifndef TIGHTFIT_CLIENT_CLI_TABLE_H_
#define TIGHTFIT_CLIENT_CLI_TABLE_H_

#include "client/cli/terminal.h"

#include <string>
#include <utility>
#include <vector>

namespace tightfit::cli {

enum class Align { kLeft, kRight };

struct Column {
  std::string heading;
  Align align = Align::kLeft;
};

struct Cell {
  std::string text;
  Colour colour = Colour::kNone;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Missing cells are empty. Control characters are taken out.
  void AddRow(std::vector<Cell> row);

  // Every line ends with a newline and has no blanks before it. No line is wider than
  // `width_columns` (0: no limit) but where a single cell is.
  std::string Render(const TextStyle& style, int width_columns = 0) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_TABLE_H_
