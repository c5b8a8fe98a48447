#include "client/fidelity/prompt_list.h"

#include <sstream>
#include <string_view>

namespace tightfit::fidelity {
namespace {

std::string Trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

}  // namespace

Result<std::vector<Prompt>> ParsePrompts(const std::string& text) {
  constexpr const char* kSeparator = " = ";
  std::vector<Prompt> prompts;
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::istringstream lines(text.starts_with(kByteOrderMark) ? text.substr(kByteOrderMark.size())
                                                            : text);
  for (std::string line; std::getline(lines, line);) {
    line = Trimmed(line);
    if (line.empty() || line.front() == '#') continue;
    const size_t separator = line.rfind(kSeparator);
    if (separator == std::string::npos) {
      prompts.push_back({.text = line, .class_name = {}});
    } else {
      prompts.push_back({.text = Trimmed(line.substr(0, separator)),
                         .class_name = Trimmed(line.substr(separator + 3))});
    }
  }
  if (prompts.empty()) {
    return Status(StatusCode::kInvalidArgument, "NO_PROMPTS", "--prompts: the file has no prompt");
  }
  return prompts;
}

Status CheckClasses(const std::vector<Prompt>& prompts, bool has_classes) {
  if (has_classes) return OkStatus();
  for (const Prompt& prompt : prompts) {
    if (prompt.class_name.empty()) continue;
    return {StatusCode::kInvalidArgument, "CLASSES_MISSING",
            "--prompts: \"" + prompt.text + "\" names the class \"" + prompt.class_name +
                "\", but no --classes say what it looks like"};
  }
  return OkStatus();
}

}  // namespace tightfit::fidelity
