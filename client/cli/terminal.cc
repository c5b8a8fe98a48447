#include "client/cli/terminal.h"

#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

namespace tightfit::cli {
namespace {

std::string_view Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : value;
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
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++count;
  }
  return count;
}

}  // namespace tightfit::cli
