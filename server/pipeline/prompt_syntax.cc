#include "server/pipeline/prompt_syntax.h"

#include "server/engine/extra_networks.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <utility>

namespace tightfit {
namespace {

constexpr std::string_view kBreak = "BREAK";
constexpr std::string_view kMarkup = "\\()[]:";

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Bytes of UTF-8 sequences count as letters.
bool IsWordCharacter(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

std::string_view TrimmedRight(std::string_view text) {
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

std::string_view TrimmedLeft(std::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  return text;
}

// The first BREAK of `text` that is a word of its own; npos without one.
size_t FindBreak(std::string_view text) {
  for (size_t at = text.find(kBreak); at != text.npos; at = text.find(kBreak, at + 1)) {
    const size_t end = at + kBreak.size();
    const bool begins_word = at == 0 || !IsWordCharacter(text[at - 1]);
    const bool ends_word = end == text.size() || !IsWordCharacter(text[end]);
    if (begins_word && ends_word) return at;
  }
  return text.npos;
}

struct ClosingWeight {
  double factor = 1.0;
  size_t length = 0;  // of ":1.3)", its white space included
};

// `text` begins with a colon.
std::optional<ClosingWeight> ParseClosingWeight(std::string_view text) {
  std::string_view rest = TrimmedLeft(text.substr(1));
  const size_t end = rest.find_first_not_of("+-.0123456789");
  if (end == rest.npos || end == 0) return std::nullopt;
  std::string_view number = rest.substr(0, end);
  if (number.front() == '+') number.remove_prefix(1);
  double factor = 0.0;
  const auto [parsed, error] = std::from_chars(number.data(), number.data() + number.size(), factor,
                                               std::chars_format::fixed);
  if (error != std::errc() || parsed != number.data() + number.size()) return std::nullopt;
  rest = TrimmedLeft(rest.substr(end));
  if (!rest.starts_with(')')) return std::nullopt;
  return ClosingWeight{factor, text.size() - rest.size() + 1};
}

class Parser {
 public:
  explicit Parser(std::string_view prompt) : rest_(prompt) {}

  std::vector<PromptPart> Parse() {
    while (!rest_.empty()) Next();
    for (const size_t start : round_) Multiply(start, kBracketFactor);
    for (const size_t start : square_) Multiply(start, 1.0 / kBracketFactor);
    return Merged();
  }

 private:
  void Next() {
    const char c = rest_.front();
    if (c == '\\') {
      const bool escapes = rest_.size() > 1 && kMarkup.substr(0, 5).find(rest_[1]) != kMarkup.npos;
      if (escapes) AddText(rest_.substr(1, 1));
      return Skip(escapes ? 2 : 1);
    }
    if (c == '(' || c == '[') {
      (c == '(' ? round_ : square_).push_back(parts_.size());
      return Skip(1);
    }
    if (c == ')' && !round_.empty()) return Close(&round_, kBracketFactor, 1);
    if (c == ']' && !square_.empty()) return Close(&square_, 1.0 / kBracketFactor, 1);
    if (c == ':' && !round_.empty()) {
      if (const auto weight = ParseClosingWeight(rest_)) {
        return Close(&round_, weight->factor, weight->length);
      }
    }
    const size_t end = c == ')' || c == ']' || c == ':' ? 1 : rest_.find_first_of(kMarkup);
    AddTextWithBreaks(rest_.substr(0, end));
    Skip(std::min(end, rest_.size()));
  }

  void Skip(size_t length) { rest_.remove_prefix(length); }

  void Close(std::vector<size_t>* open, double factor, size_t length) {
    Multiply(open->back(), factor);
    open->pop_back();
    Skip(length);
  }

  void Multiply(size_t start, double factor) {
    for (size_t i = start; i < parts_.size(); ++i) {
      parts_[i].weight = std::clamp(parts_[i].weight * factor, -kMaxPromptWeight, kMaxPromptWeight);
    }
  }

  void AddText(std::string_view text) {
    parts_.push_back(
        {.text = std::string(text), .starts_chunk = std::exchange(after_break_, false)});
  }

  void AddTextWithBreaks(std::string_view text) {
    for (size_t at = FindBreak(text); at != text.npos; at = FindBreak(text)) {
      AddText(TrimmedRight(text.substr(0, at)));
      after_break_ = true;
      text = TrimmedLeft(text.substr(at + kBreak.size()));
    }
    AddText(text);
  }

  std::vector<PromptPart> Merged() {
    std::vector<PromptPart> merged;
    for (PromptPart& part : parts_) {
      if (!merged.empty() && !part.starts_chunk && merged.back().weight == part.weight) {
        merged.back().text += part.text;
      } else {
        merged.push_back(std::move(part));
      }
    }
    if (merged.empty()) merged.emplace_back();
    return merged;
  }

  std::string_view rest_;
  std::vector<PromptPart> parts_;
  // Where open brackets began, as indices of parts_.
  std::vector<size_t> round_;
  std::vector<size_t> square_;
  bool after_break_ = false;
};

}  // namespace

std::vector<PromptPart> ParseWeightedPrompt(std::string_view prompt) {
  const std::string text = WithoutExtraNetworkTags(prompt);
  return Parser(text).Parse();
}

}  // namespace tightfit
