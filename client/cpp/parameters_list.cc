#include "client/cpp/parameters_list.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <ranges>
#include <utility>

namespace tightfit::client {
namespace {

constexpr std::string_view kNegativePrefix = "Negative prompt:";
constexpr size_t kMinFields = 3;

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool IsBlank(char c) { return std::string_view(" \t\n\v\f\r").find(c) != std::string_view::npos; }

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

// Letters of any script count: the bytes of UTF-8 beyond ASCII.
bool IsWord(char c) {
  return (c >= '0' && c <= '9') || (Lower(c) >= 'a' && Lower(c) <= 'z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

bool IsInName(char c) { return IsWord(c) || c == ' ' || c == '-' || c == '/'; }

// Where the JSON string at the begin of `text` ends, if a comma or the end follows it; else 0.
size_t QuotedSize(std::string_view text) {
  if (text.size() < 3 || text[0] != '"') return 0;
  size_t at = 1;
  while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
  if (at >= text.size() || at == 1) return 0;
  ++at;
  return at == text.size() || text[at] == ',' ? at : 0;
}

std::string Unquoted(std::string_view value) {
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
    const nlohmann::json parsed = nlohmann::json::parse(value, nullptr, false);
    if (parsed.is_string()) return parsed.get<std::string>();
  }
  return std::string(value);
}

// What A1111's pattern finds: a name of two letters or more, a colon, and a JSON string or whatever
// stands before the next comma.
std::vector<ParametersList::Field> FieldsOf(std::string_view line) {
  std::vector<ParametersList::Field> fields;
  while (!line.empty()) {
    const size_t end = static_cast<size_t>(std::ranges::find_if_not(line, IsInName) - line.begin());
    std::string_view name = line.substr(0, end);
    while (!name.empty() && !IsWord(name.front())) name.remove_prefix(1);
    const bool is_name = name.size() >= 2 && end < line.size() && line[end] == ':';
    line.remove_prefix(std::min(line.size(), end + 1));
    if (!is_name) continue;
    while (!line.empty() && IsBlank(line.front())) line.remove_prefix(1);
    const size_t quoted = QuotedSize(line);
    const std::string_view value = line.substr(0, quoted > 0 ? quoted : line.find(','));
    fields.push_back({std::string(Trimmed(name)), Unquoted(Trimmed(value))});
    line.remove_prefix(std::min(line.size(), value.size() + 1));
  }
  return fields;
}

bool HasSteps(const std::vector<ParametersList::Field>& fields) {
  return std::ranges::any_of(fields, [](const auto& field) { return field.name == "Steps"; });
}

void AddLine(std::string_view line, std::string* prompt) {
  if (!prompt->empty()) *prompt += '\n';
  *prompt += line;
}

}  // namespace

bool IsSameName(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, Lower, Lower);
}

const std::string* ParametersList::Find(std::string_view name) const {
  for (const Field& field : std::views::reverse(fields)) {
    if (IsSameName(field.name, name)) return &field.value;
  }
  return nullptr;
}

Result<ParametersList> SplitParametersText(std::string_view text) {
  std::vector<std::string_view> lines;
  for (std::string_view rest = text;;) {
    const size_t end = rest.find('\n');
    lines.push_back(Trimmed(rest.substr(0, end)));
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  ParametersList list;
  while (!lines.empty()) {
    list.fields = FieldsOf(lines.back());
    lines.pop_back();
    if (list.fields.size() >= kMinFields && HasSteps(list.fields)) break;
    list.fields.clear();
  }
  if (list.fields.empty()) {
    const char* const what =
        Trimmed(text).starts_with('{')
            ? "its parameters are JSON, which is not read; only A1111's text is"
            : "its parameters have no list of A1111's form (Steps: 20, "
              "Sampler: Euler, Seed: 1, ...)";
    return Status(StatusCode::kInvalidArgument, "NO_PARAMETERS", what);
  }
  for (std::string_view line : lines) {
    if (line.starts_with(kNegativePrefix)) {
      line = Trimmed(line.substr(kNegativePrefix.size()));
      if (!list.negative_prompt.has_value()) list.negative_prompt.emplace();
    }
    AddLine(line, list.negative_prompt.has_value() ? &*list.negative_prompt : &list.prompt);
  }
  return list;
}

}  // namespace tightfit::client
