// A plain table: columns as wide as their widest cell, two spaces between them, no lines.
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

  // Every line ends with a newline and has no blanks before it.
  std::string Render(const TextStyle& style) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_TABLE_H_
