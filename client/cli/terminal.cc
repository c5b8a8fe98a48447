#include "client/cli/terminal.h"

#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace tightfit::cli {
namespace {

std::string_view Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : value;
}

// Bytes of `text` that fit into `columns`, at least one character.
size_t BytesThatFit(std::string_view text, int columns) {
  size_t bytes = 0;
  while (bytes < text.size()) {
    size_t next = bytes + 1;
    if (text[bytes] == '\x1b') {
      next = std::min(text.find('m', bytes), text.size() - 1) + 1;
    } else {
      while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xC0) == 0x80) ++next;
    }
    if (bytes > 0 && ColumnCount(text.substr(0, next)) > columns) break;
    bytes = next;
  }
  return bytes;
}

std::string FoldLine(std::string_view line, int width_columns) {
  constexpr int kFactColumns = 12;
  constexpr int kIndent = 4;
  if (ColumnCount(line) <= width_columns) return std::string(line);
  const int wanted = line.starts_with("  ") ? kFactColumns : kIndent;
  const int indent = std::min(wanted, width_columns / 3);
  std::string folded;
  int room = width_columns;
  while (ColumnCount(line) > room) {
    size_t bytes = BytesThatFit(line, room);
    // The last blank with a word before it and not beyond the room.
    const size_t blank = line.substr(0, bytes + 1).rfind(' ');
    const size_t word = line.find_first_not_of(' ');
    const bool breaks_at_blank = blank != line.npos && word != line.npos && blank > word;
    if (breaks_at_blank) bytes = blank;
    folded += line.substr(0, bytes);
    line.remove_prefix(breaks_at_blank ? bytes + 1 : bytes);
    folded += "\n" + std::string(static_cast<size_t>(indent), ' ');
    room = std::max(width_columns - indent, 1);
  }
  return folded.append(line);
}

}  // namespace

std::string TextStyle::Paint(std::string_view text, Colour paint) const {
  if (!colour || paint == Colour::kNone || text.empty()) return std::string(text);
  const char* code = "";
  switch (paint) {
    case Colour::kNone:
      break;
    case Colour::kBold:
      code = "\x1b[1m";
      break;
    case Colour::kRed:
      code = "\x1b[31m";
      break;
    case Colour::kGreen:
      code = "\x1b[32m";
      break;
    case Colour::kYellow:
      code = "\x1b[33m";
      break;
  }
  return code + std::string(text) + "\x1b[0m";
}

Terminal::Terminal(int file_descriptor)
    : file_descriptor_(file_descriptor),
      is_interactive_(isatty(file_descriptor) == 1 && Environment("TERM") != "dumb") {
  style_.colour = is_interactive_ && Environment("NO_COLOR").empty();
  style_.unicode = std::string_view(nl_langinfo(CODESET)) == "UTF-8";
}

int Terminal::WidthColumns() const {
  winsize size = {};
  if (ioctl(file_descriptor_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

int Terminal::FoldColumns() const { return isatty(file_descriptor_) == 1 ? WidthColumns() : 0; }

int Terminal::HeightRows() const {
  winsize size = {};
  if (ioctl(file_descriptor_, TIOCGWINSZ, &size) == 0 && size.ws_row > 0) return size.ws_row;
  return 24;
}

std::string Printable(std::string_view text) {
  std::string printable;
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are controls too; in UTF-8 they are C2 80 to C2 9F.
    const bool is_c1 =
        byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (byte == '\n' || byte == '\t') {
      printable += ' ';
    } else if (byte < 0x20 || byte == 0x7F) {
      printable += '?';
    } else if (is_c1) {
      printable += '?';
      ++i;
    } else {
      printable += text[i];
    }
  }
  return printable;
}

int ColumnCount(std::string_view text) {
  int count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      i = std::min(text.find('m', i), text.size());
    } else if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) {
      ++count;
    }
  }
  return count;
}

std::string FoldText(std::string_view text, int width_columns) {
  if (width_columns <= 0) return std::string(text);
  std::string folded;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    folded += FoldLine(text.substr(0, end), width_columns);
    if (end == text.npos) break;
    folded += '\n';
    text.remove_prefix(end + 1);
  }
  return folded;
}

}  // namespace tightfit::cli
