// What the terminal behind an output stream can show.
#ifndef TIGHTFIT_CLIENT_CLI_TERMINAL_H_
#define TIGHTFIT_CLIENT_CLI_TERMINAL_H_

#include <string>
#include <string_view>

namespace tightfit::cli {

enum class Colour { kNone, kBold, kRed, kGreen, kYellow };

// How text may be drawn; plain by default.
struct TextStyle {
  bool colour = false;
  bool unicode = false;

  // `text` in `colour`, or as it is.
  std::string Paint(std::string_view text, Colour paint) const;
};

class Terminal {
 public:
  explicit Terminal(int file_descriptor);

  // Lines can be redrawn in place: a TTY, and TERM is not "dumb".
  bool is_interactive() const { return is_interactive_; }
  // Colours on a TTY without NO_COLOR; unicode by the locale's character set.
  const TextStyle& style() const { return style_; }
  // Asked at every call, since windows are resized; 80 where it is unknown.
  int WidthColumns() const;

 private:
  int file_descriptor_;
  bool is_interactive_;
  TextStyle style_;
};

// `text` without control characters: a server's words must not steer the user's terminal.
std::string Printable(std::string_view text);

// Columns that `text` takes, one for each code point.
int ColumnCount(std::string_view text);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_TERMINAL_H_
