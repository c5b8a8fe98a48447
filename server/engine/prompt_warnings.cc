#include "server/engine/prompt_warnings.h"

#include "server/base/is_among.h"
#include "server/engine/extra_networks.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace tightfit {
namespace {

constexpr size_t kNone = std::string_view::npos;
// Weights behind brackets are no larger; years and numbers of figures are.
constexpr double kLargestWeight = 10.0;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
// Bytes of UTF-8 sequences count as letters.
bool IsLetter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || static_cast<unsigned char>(c) >= 0x80;
}
bool IsWordCharacter(char c) { return IsLetter(c) || IsDigit(c) || c == '_'; }
bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

constexpr std::array<std::string_view, 5> kLoraKinds = {"lora", "lyco", "locon", "loha", "lokr"};
// Of extensions that draw an image of several prompts.
constexpr std::array<std::string_view, 7> kJoiningWords = {
    "AND_PERP", "AND_SALT", "AND_TOPK", "ADDCOL", "ADDROW", "ADDCOMM", "ADDBASE"};
constexpr std::array<std::string_view, 4> kMethods = {".swap(", ".blend(", ".and(", ".or("};
// Of Midjourney.
constexpr std::array<std::string_view, 20> kOptions = {
    "ar",      "aspect", "no",    "seed", "stylize", "s",    "chaos", "c", "niji",    "iw",
    "quality", "q",      "style", "tile", "weird",   "sref", "cref",  "v", "version", "stop"};
// Names that end with two plus signs.
constexpr std::array<std::string_view, 4> kPlusNames = {"notepad", "libstdc", "libc", "dpm"};

constexpr char kLoraMessage[] =
    "LoRA tags are not supported: it was left out of the prompt; serve a model that the LoRA is "
    "merged into";
constexpr char kExtraNetworkMessage[] =
    "tags of extra networks are not supported: it was left out of the prompt";
constexpr char kPlainTagMessage[] =
    "tags of extra networks are not supported: it was read as words, as PROMPT_SYNTAX_PLAIN reads "
    "everything; take it out";
constexpr char kUnclosedTagMessage[] =
    "a tag of an extra network that is never closed with > was read as words; take it out";
constexpr char kEmbeddingMessage[] =
    "textual inversion embeddings are not supported: the name was read as words; take it out";
constexpr char kEditingMessage[] =
    "prompt editing by step is not supported: all of it was read as words, weighed down by its "
    "brackets; write the words to draw, or \\[ \\] for brackets";
constexpr char kAlternationMessage[] =
    "alternating words are not supported: all of them were read as one text, weighed down by its "
    "brackets; write the words to draw, or \\[ \\] for brackets";
constexpr char kAndMessage[] =
    "prompts are not composed: it was read as a word; write one prompt, or a small and for the "
    "word";
constexpr char kJoiningMessage[] =
    "prompts are not composed: it was read as a word; write one prompt";
constexpr char kAndWeightMessage[] =
    "prompts are not composed: the weight was read as words; write (words:1.3)";
constexpr char kChoiceMessage[] =
    "choices are not drawn here: all of them were read as one text; write one of them";
constexpr char kWildcardMessage[] =
    "wildcards are not filled in here: the name was read as words; write the words to draw";
constexpr char kBracketWeightMessage[] =
    "a weight behind brackets is not supported: it was read as words, and the brackets weigh 1.1; "
    "write (words:1.3)";
constexpr char kSignsMessage[] =
    "weights by + and - are not supported: the signs were read as words; write (word:1.1)";
constexpr char kMethodMessage[] =
    "methods of prompts are not supported: all of it was read as words; write one prompt";
constexpr char kBracesMessage[] =
    "curly brackets are no weights here: they were read as words; write (words:1.05), or \\{ \\} "
    "for brackets";
constexpr char kColonsMessage[] =
    "weights by :: are not supported: all of it was read as words; write (words:1.3)";
constexpr char kOptionMessage[] =
    "options within a prompt are not supported: it was read as words; take it out";
constexpr char kDecimalCommaMessage[] =
    "a weight with a decimal comma was read as words; write it with a point";

// Finds the markup of one prompt in one pass.
class Scanner {
 public:
  Scanner(std::string_view field, std::string_view text) : field_(field), text_(text) {}

  std::vector<RequestWarning> ScanWeighted() && {
    tags_ = FindExtraNetworkTags(text_);
    for (const ExtraNetworkTag& tag : tags_) {
      const bool is_lora = IsAmong(Lower(tag.kind), kLoraKinds);
      Report(tag.offset, tag.offset + tag.length, is_lora ? kLoraMessage : kExtraNetworkMessage,
             is_lora ? kLoraIgnored : kExtraNetworkIgnored);
    }
    while (at_ < text_.size()) Next();
    EndSection(text_.size());
    if (colons_begin_ != kNone) Report(colons_begin_, text_.size(), kColonsMessage);
    for (const Open& open : open_) {
      if (open.method_begin != kNone) Report(open.method_begin, open.begin + 1, kMethodMessage);
    }
    return std::move(*this).Outermost();
  }

  std::vector<RequestWarning> ScanPlain() && {
    for (const ExtraNetworkTag& tag : FindExtraNetworkTags(text_)) {
      Report(tag.offset, tag.offset + tag.length, kPlainTagMessage);
    }
    for (at_ = 0; at_ < text_.size();) {
      if (!AtWordBegin()) {
        ++at_;
        continue;
      }
      const size_t begin = at_;
      while (at_ < text_.size() && IsWordCharacter(text_[at_])) ++at_;
      CheckEmbedding(begin);
    }
    return std::move(*this).Outermost();
  }

 private:
  struct Finding {
    size_t begin;
    size_t end;
    const char* message;
    std::string_view reason;
  };

  struct Open {
    char bracket;
    size_t begin;
    size_t last_colon = kNone;
    bool has_bar = false;
    bool has_letter = false;
    size_t method_begin = kNone;  // of `words.swap(`, whose arguments the brackets hold
  };

  char CharAt(size_t at) const { return at < text_.size() ? text_[at] : '\0'; }
  bool AtWordBegin() const {
    return IsWordCharacter(text_[at_]) && (at_ == 0 || !IsWordCharacter(text_[at_ - 1]));
  }
  bool FollowsWord(size_t at) const {
    return !last_word_.empty() && last_word_begin_ + last_word_.size() == at;
  }
  // Whether a word or a suffix can end before `at`.
  bool IsBoundary(size_t at) const {
    if (at >= text_.size()) return true;
    const char c = text_[at];
    if (c == '.') return !IsDigit(CharAt(at + 1));
    constexpr std::string_view kContinuing = "_+-=/\\*($";
    return static_cast<unsigned char>(c) >= 0x80 ||
           (!IsLetter(c) && !IsDigit(c) && kContinuing.find(c) == kNone);
  }

  void Report(size_t begin, size_t end, const char* message,
              std::string_view reason = kMarkupReadAsText) {
    found_.push_back({.begin = begin, .end = end, .message = message, .reason = reason});
  }

  void Next() {
    const char c = text_[at_];
    while (next_tag_ < tags_.size() && tags_[next_tag_].offset < at_) ++next_tag_;
    if (next_tag_ < tags_.size() && tags_[next_tag_].offset == at_) {
      at_ += tags_[next_tag_].length;
      return;
    }
    if (AtWordBegin()) return Word();
    switch (c) {
      case '\\':
        at_ += 2;
        return;
      case '<':
        return Angle();
      case '(':
      case '[':
      case '{':
        ++open_count_[BracketIndex(c)];
        open_.push_back({.bracket = c, .begin = at_++});
        open_.back().method_begin = std::exchange(method_begin_, kNone);
        return;
      case ')':
        return Close('(');
      case ']':
        return Close('[');
      case '}':
        return Close('{');
      case '|':
        if (!open_.empty()) open_.back().has_bar = true;
        break;
      case ':':
        return Colon();
      case '"':
        is_quoted_ = !is_quoted_;
        (is_quoted_ ? quote_begin_ : quote_end_) = is_quoted_ ? at_ : at_ + 1;
        break;
      case '+':
      case '-':
        return Signs();
      case '.':
        Method();
        break;
      default:
        break;
    }
    ++at_;
  }

  static size_t BracketIndex(char bracket) { return bracket == '(' ? 0 : bracket == '[' ? 1 : 2; }

  // `<` that begins no tag.
  void Angle() {
    const size_t begin = at_++;
    size_t end = at_;
    while (end < text_.size() && (IsWordCharacter(text_[end]) || text_[end] == '-')) ++end;
    const std::string name = Lower(text_.substr(begin + 1, end - begin - 1));
    if (CharAt(end) == '>' && end > begin + 3 && IsLetter(text_[begin + 1])) {
      at_ = end + 1;
      return Report(begin, at_, kEmbeddingMessage, kEmbeddingReadAsText);
    }
    if (CharAt(end) != ':' || !(IsAmong(name, kLoraKinds) || name == "hypernet")) return;
    while (end < text_.size() && !IsSpace(text_[end]) && text_[end] != ',') ++end;
    at_ = end;
    Report(begin, end, kUnclosedTagMessage);
  }

  void Word() {
    const size_t begin = at_;
    if (text_.substr(at_).starts_with("__") && Wildcard()) return;
    while (at_ < text_.size() && IsWordCharacter(text_[at_])) ++at_;
    const std::string_view word = text_.substr(begin, at_ - begin);
    if (!open_.empty() && std::any_of(word.begin(), word.end(), IsLetter)) {
      open_.back().has_letter = true;
    }
    if (word == "AND" && !IsAmongCapitals(last_word_, NextWord())) {
      Report(begin, at_, kAndMessage);
      is_composed_ = true;
      EndSection(begin);
    } else if (IsAmong(word, kJoiningWords)) {
      Report(begin, at_, kJoiningMessage);
    }
    last_word_ = word;
    last_word_begin_ = begin;
    CheckEmbedding(begin);
  }

  // `at_` stands behind a word that begins at `begin`.
  void CheckEmbedding(size_t begin) {
    constexpr std::string_view kEmbedding = "embedding";
    constexpr std::string_view kEnds = ",()[]{}<>|:;\"";
    if (at_ - begin != kEmbedding.size() || CharAt(at_) != ':' ||
        Lower(text_.substr(begin, kEmbedding.size())) != kEmbedding ||
        !IsWordCharacter(CharAt(at_ + 1))) {
      return;
    }
    size_t end = at_ + 1;
    while (end < text_.size() && !IsSpace(text_[end]) && kEnds.find(text_[end]) == kNone) ++end;
    while (text_[end - 1] == '.') --end;
    Report(begin, end, kEmbeddingMessage, kEmbeddingReadAsText);
    at_ = end;
  }

  // Whether a word between these two is in capitals because all is.
  static bool IsAmongCapitals(std::string_view before, std::string_view after) {
    const auto is_capital = [](char c) { return c >= 'A' && c <= 'Z'; };
    return before.size() + after.size() > 0 &&
           std::all_of(before.begin(), before.end(), is_capital) &&
           std::all_of(after.begin(), after.end(), is_capital);
  }

  // The word that follows `at_`, if only white space and a few signs lie before it.
  std::string_view NextWord() const {
    constexpr size_t kMaxGap = 8;
    size_t begin = at_;
    while (begin < text_.size() && begin < at_ + kMaxGap && !IsWordCharacter(text_[begin])) ++begin;
    size_t end = begin;
    while (end < text_.size() && end < begin + kMaxGap && IsWordCharacter(text_[end])) ++end;
    return text_.substr(begin, end - begin);
  }

  // `__name__`, from `at_`; false where there is none.
  bool Wildcard() {
    size_t end = at_ + 2;
    constexpr std::string_view kAllowed = "/-*.";
    while (end < text_.size() &&
           (IsWordCharacter(text_[end]) || kAllowed.find(text_[end]) != kNone)) {
      ++end;
    }
    const size_t run_end = end;
    while (kAllowed.find(text_[end - 1]) != kNone) --end;
    const std::string_view run = text_.substr(at_, end - at_);
    const bool names_something =
        std::any_of(run.begin(), run.end(), [](char c) { return IsLetter(c) || c == '*'; });
    if (run.size() < 5 || !run.ends_with("__") || !names_something) return false;
    Report(at_, end, kWildcardMessage);
    at_ = run_end;
    return true;
  }

  // What lies between two ANDs ends at `end`: a weight may stand there.
  void EndSection(size_t end) {
    if (!is_composed_) return;
    while (end > 0 && IsSpace(text_[end - 1])) --end;
    size_t number = end;
    while (number > 0 && (IsDigit(text_[number - 1]) || text_[number - 1] == '.')) --number;
    if (number == end || text_.substr(number, end - number) == ".") return;
    size_t colon = number;
    if (colon > 0 && (text_[colon - 1] == '+' || text_[colon - 1] == '-')) --colon;
    while (colon > 0 && IsSpace(text_[colon - 1])) --colon;
    if (colon == 0 || text_[colon - 1] != ':') return;
    Report(colon - 1, end, kAndWeightMessage);
  }

  void Colon() {
    const bool is_in_square = !open_.empty() && open_.back().bracket == '[';
    if (!open_.empty()) open_.back().last_colon = at_;
    if (CharAt(at_ + 1) != ':' || (at_ > 0 && text_[at_ - 1] == ':') || CharAt(at_ + 2) == ':') {
      ++at_;
      return;
    }
    const size_t begin = at_;
    at_ += 2;
    if (!open_.empty()) open_.back().last_colon = begin + 1;
    if (is_in_square) return;
    size_t number = begin;
    while (number > 0 && begin - number < 8 &&
           (IsDigit(text_[number - 1]) || text_[number - 1] == '.')) {
      --number;
    }
    const bool has_number = number < begin && IsDigit(text_[begin - 1]);
    if (has_number && number > 0 && text_[number - 1] == '-') --number;
    const bool begins_group = has_number && (number == 0 || !IsWordCharacter(text_[number - 1]) ||
                                             colons_begin_ != kNone);
    if (colons_begin_ != kNone) {
      Report(colons_begin_, begins_group ? number : at_, kColonsMessage);
      colons_begin_ = begins_group ? number : kNone;
    } else if (begins_group) {
      colons_begin_ = number;
    } else if (FollowsWord(begin)) {
      size_t end = at_;
      if (CharAt(end) == '-') ++end;
      while (IsDigit(CharAt(end)) || (CharAt(end) == '.' && IsDigit(CharAt(end + 1)))) ++end;
      if (IsDigit(text_[end - 1]) || (IsBoundary(at_) && CharAt(at_) != ':')) {
        Report(last_word_begin_, end > at_ && IsDigit(text_[end - 1]) ? end : at_, kColonsMessage);
      }
    }
  }

  // `word++`, `word--`, and `--option value`.
  void Signs() {
    const char sign = text_[at_];
    const size_t begin = at_;
    while (CharAt(at_) == sign) ++at_;
    if (FollowsWord(begin)) {
      const bool has_letter = std::any_of(last_word_.begin(), last_word_.end(), IsLetter);
      const bool is_a_name =
          last_word_.size() == 1 || (sign == '+' && IsAmong(Lower(last_word_), kPlusNames));
      if (at_ - begin >= 2 && has_letter && !is_a_name && IsBoundary(at_)) {
        Report(last_word_begin_, at_, kSignsMessage);
      }
      return;
    }
    if (sign != '-' || at_ - begin != 2 || (begin > 0 && !IsSpace(text_[begin - 1]))) return;
    size_t end = at_;
    while (IsLetter(CharAt(end))) ++end;
    if (!IsAmong(Lower(text_.substr(at_, end - at_)), kOptions) || !IsBoundary(end)) return;
    if (CharAt(end) == ' ' && CharAt(end + 1) != '-' && end + 1 < text_.size()) {
      ++end;
      while (end < text_.size() && !IsSpace(text_[end]) && text_[end] != ',') ++end;
    }
    Report(begin, end, kOptionMessage);
    at_ = end;
  }

  // `at_` stands on a point: notes where `words` of `words.swap(` begin for the brackets that come.
  void Method() {
    const std::string_view rest = text_.substr(at_);
    const auto is_called = [&](std::string_view method) { return rest.starts_with(method); };
    const auto* const method = std::find_if(kMethods.begin(), kMethods.end(), is_called);
    if (method == kMethods.end() || at_ == 0) return;
    if (text_[at_ - 1] == ')' && closed_end_ == at_) {
      method_begin_ = closed_begin_;
    } else if (text_[at_ - 1] == '"' && quote_end_ == at_) {
      method_begin_ = quote_begin_;
    } else if (FollowsWord(at_)) {
      method_begin_ = last_word_begin_;
    } else {
      return;
    }
    at_ += method->size() - 2;  // to before the bracket
  }

  void Close(char bracket) {
    const size_t end = ++at_;
    int& count = open_count_[BracketIndex(bracket)];
    if (count == 0) return;
    // Brackets of another kind that are open within it are never closed.
    while (open_.back().bracket != bracket) Pop();
    const Open closed = open_.back();
    Pop();
    if (colons_begin_ != kNone && colons_begin_ > closed.begin) {
      Report(std::exchange(colons_begin_, kNone), end - 1, kColonsMessage);
    }
    if (bracket == '[') return CloseSquare(closed, end);
    if (bracket == '{') return CloseBraces(closed, end);
    closed_begin_ = closed.begin;
    closed_end_ = end;
    if (closed.method_begin != kNone) {
      closed_begin_ = closed.method_begin;
      return Report(closed.method_begin, end, kMethodMessage);
    }
    if (closed.last_colon != kNone && HasDecimalComma(closed.last_colon + 1, end - 1)) {
      return Report(closed.begin, end, kDecimalCommaMessage);
    }
    if (closed.has_letter && (closed.begin == 0 || !IsWordCharacter(text_[closed.begin - 1]))) {
      CheckSuffix(closed.begin, end);
    }
  }

  void Pop() {
    const bool has_letter = open_.back().has_letter;
    --open_count_[BracketIndex(open_.back().bracket)];
    open_.pop_back();
    if (has_letter && !open_.empty()) open_.back().has_letter = true;
  }

  // A weight behind `(words)`, which end at `end`.
  void CheckSuffix(size_t begin, size_t end) {
    size_t suffix = end;
    const char first = CharAt(end);
    if (first == '+' || first == '-') {
      while (CharAt(suffix) == first) ++suffix;
      if (!IsBoundary(suffix)) return;
      at_ = suffix;
      return Report(begin, suffix, kBracketWeightMessage);
    }
    double whole = 0.0;
    while (IsDigit(CharAt(suffix)) && whole <= kLargestWeight) {
      whole = whole * 10.0 + (text_[suffix++] - '0');
    }
    if (CharAt(suffix) == '.' && IsDigit(CharAt(suffix + 1))) {
      ++suffix;
      while (IsDigit(CharAt(suffix))) ++suffix;
    }
    if (suffix == end || whole > kLargestWeight || !IsBoundary(suffix)) return;
    at_ = suffix;
    Report(begin, suffix, kBracketWeightMessage);
  }

  // `1,3`, among white space.
  bool HasDecimalComma(size_t begin, size_t end) const {
    while (begin < end && IsSpace(text_[begin])) ++begin;
    size_t comma = begin;
    while (comma < end && IsDigit(text_[comma])) ++comma;
    if (comma == begin || CharAt(comma) != ',') return false;
    size_t last = comma + 1;
    while (last < end && IsDigit(text_[last])) ++last;
    if (last == comma + 1) return false;
    while (last < end && IsSpace(text_[last])) ++last;
    return last == end;
  }

  void CloseSquare(const Open& closed, size_t end) {
    if (closed.has_bar) return Report(closed.begin, end, kAlternationMessage);
    if (closed.last_colon == kNone) return;
    // `0.5`, and of extensions `0.2,0.6` and `50%`.
    bool has_digit = false;
    constexpr std::string_view kAllowed = "+-.,%";
    for (size_t i = closed.last_colon + 1; i + 1 < end; ++i) {
      has_digit = has_digit || IsDigit(text_[i]);
      if (!IsDigit(text_[i]) && !IsSpace(text_[i]) && kAllowed.find(text_[i]) == kNone) return;
    }
    if (has_digit) Report(closed.begin, end, kEditingMessage);
  }

  void CloseBraces(const Open& closed, size_t end) {
    size_t first = closed.begin + 1;
    while (IsSpace(CharAt(first))) ++first;
    const bool is_json = CharAt(first) == '"' && closed.last_colon != kNone;
    if (is_json) return;
    if (closed.has_bar) return Report(closed.begin, end, kChoiceMessage);
    if (closed.has_letter) Report(closed.begin, end, kBracesMessage);
  }

  // By offset, without markup that lies within other markup. What was left out is always told.
  std::vector<RequestWarning> Outermost() && {
    std::stable_sort(found_.begin(), found_.end(), [](const Finding& a, const Finding& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end > b.end;
    });
    std::vector<RequestWarning> warnings;
    size_t covered = 0;
    for (const Finding& finding : found_) {
      if (warnings.size() == kMaxRequestWarnings) break;
      if (finding.reason == kMarkupReadAsText) {
        if (finding.end <= covered) continue;
        covered = finding.end;
      }
      warnings.push_back(
          {.reason = std::string(finding.reason),
           .field = std::string(field_),
           .offset_bytes = static_cast<int32_t>(finding.begin),
           .text = std::string(text_.substr(finding.begin, finding.end - finding.begin)),
           .message = finding.message});
    }
    return warnings;
  }

  const std::string_view field_;
  const std::string_view text_;
  std::vector<ExtraNetworkTag> tags_;
  size_t next_tag_ = 0;
  size_t at_ = 0;
  std::vector<Finding> found_;
  std::vector<Open> open_;
  std::array<int, 3> open_count_{};
  std::string_view last_word_;
  size_t last_word_begin_ = 0;
  // The round brackets and the quotes that were closed last.
  size_t closed_begin_ = kNone;
  size_t closed_end_ = kNone;
  size_t quote_begin_ = kNone;
  size_t quote_end_ = kNone;
  bool is_quoted_ = false;
  size_t method_begin_ = kNone;
  size_t colons_begin_ = kNone;  // of a group `1.3::words` that is open
  bool is_composed_ = false;     // an AND was seen
};

}  // namespace

std::vector<RequestWarning> PromptWarnings(std::string_view field, std::string_view prompt,
                                           PromptSyntax syntax) {
  Scanner scanner(field, prompt);
  return syntax == PromptSyntax::kPlain ? std::move(scanner).ScanPlain()
                                        : std::move(scanner).ScanWeighted();
}

}  // namespace tightfit
