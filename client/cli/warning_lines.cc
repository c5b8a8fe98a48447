#include "client/cli/warning_lines.h"

#include "client/cli/flag_names.h"

#include <cstddef>

namespace tightfit::cli {
namespace {

constexpr size_t kMaxTextBytes = 80;

// Cut between two characters of UTF-8.
std::string Cut(const std::string& text) {
  if (text.size() <= kMaxTextBytes) return text;
  size_t end = kMaxTextBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

}  // namespace

std::string WarningLine(const client::RequestWarning& warning, const TextStyle& style) {
  std::string text = WithFlagNames(warning.field);
  if (!warning.text.empty()) text += ": \"" + Cut(warning.text) + "\"";
  return WarningLine(text + ": " + warning.message, style);
}

std::string WarningLine(std::string_view text, const TextStyle& style) {
  return style.Paint("warning:", Colour::kYellow) + " " + Printable(text);
}

std::string NoteLine(std::string_view text, const TextStyle& style) {
  return style.Paint("note:", Colour::kBold) + " " + Printable(text);
}

}  // namespace tightfit::cli
