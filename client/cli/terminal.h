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
  // The width that text is folded at: 0, none, where the output is no terminal.
  int FoldColumns() const;
  // Asked at every call; 24 where it is unknown.
  int HeightRows() const;

 private:
  int file_descriptor_;
  bool is_interactive_;
  TextStyle style_;
};

// `text` without control characters: a server's words must not steer the user's terminal.
std::string Printable(std::string_view text);

// Columns that `text` takes, one for each code point; what Paint adds takes none.
int ColumnCount(std::string_view text);

// `text` with no line wider than `width_columns` (0: as it is): lines are broken between words,
// words only where they are wider themselves. What follows is indented: by the width of the names
// that facts begin with where the line is indented itself, else by four.
std::string FoldText(std::string_view text, int width_columns);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_TERMINAL_H_
