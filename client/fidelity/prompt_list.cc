#include "client/fidelity/prompt_list.h"

#include <sstream>

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
  std::istringstream lines(text);
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

}  // namespace tightfit::fidelity
