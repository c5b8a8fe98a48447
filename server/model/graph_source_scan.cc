#include "server/model/graph_source_scan.h"

#include "server/model/model_errors.h"
#include "server/model/operator_allowlist.h"

#include <algorithm>
#include <array>
#include <string>

namespace tightfit {
namespace {

bool IsWordStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsWord(char c) { return IsWordStart(c) || (c >= '0' && c <= '9'); }

bool Contains(auto&& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

// Called by a bare name. The tracer writes conversions of numbers, type annotations and access to
// numbered children in this way.
constexpr std::array kBareCalls = std::to_array<std::string_view>(
    {"annotate", "bool", "float", "getattr", "int", "unchecked_cast"});

// Words that join expressions, as operators do.
constexpr std::array kJoiningWords =
    std::to_array<std::string_view>({"and", "else", "if", "in", "is", "not", "or"});

// LibTorch's parser calls itself for every bracket and operator of a statement, and its compiler
// for every part of a dotted name. What a trace writes has fewer than ten of either.
constexpr int kMaxStatementParts = 256;
constexpr size_t kMaxWordBytes = 512;
constexpr size_t kMaxIndentation = 64;

// Keywords that may stand before a bracket.
constexpr std::array kKeywords =
    std::to_array<std::string_view>({"and", "in", "is", "not", "or", "return"});

std::string_view LastSegment(std::string_view dotted) {
  return dotted.substr(dotted.rfind('.') + 1);  // npos + 1 == 0
}

// Walks over the words of a source text: dotted names with their leading dot, if any.
class SourceScan {
 public:
  SourceScan(std::string_view file, std::string_view source) : file_(file), source_(source) {}

  Status Run() {
    while (at_ < source_.size()) {
      const char c = source_[at_];
      if (c == '"' || c == '\'') {
        TF_RETURN_IF_ERROR(SkipText(c));
      } else if (c == '#') {
        at_ = std::min(source_.find('\n', at_), source_.size());
      } else if (IsWordStart(c) || c == '.') {
        TF_RETURN_IF_ERROR(CheckWord(TakeWord()));
      } else if (IsWord(c)) {
        TakeNumber();
      } else {
        if (!IsPlain(c)) return ForbiddenOperator(file_, "a character outside the language");
        TF_RETURN_IF_ERROR(Count(c));
        ++at_;
      }
    }
    return OkStatus();
  }

 private:
  static bool IsPlain(char c) {
    return c == '\n' || (c >= ' ' && c <= '~' && c != '\\' && c != '`' && c != '@');
  }

  Status SkipText(char quote) {
    for (++at_; at_ < source_.size(); ++at_) {
      if (source_[at_] == '\\') {
        ++at_;
      } else if (source_[at_] == quote) {
        ++at_;
        return OkStatus();
      } else if (source_[at_] == '\n') {
        break;
      }
    }
    return ForbiddenOperator(file_, "a text without an end");
  }

  // Counts what nests within a statement, and starts anew behind it.
  Status Count(char c) {
    constexpr std::string_view kOperators = "+-*/%<>=|&^~:?";
    if (c == '(' || c == '[' || c == '{') {
      ++open_brackets_;
      return CountPart();
    }
    if (c == ')' || c == ']' || c == '}') --open_brackets_;
    if (c == '\n' && open_brackets_ <= 0) {
      parts_ = open_brackets_ = 0;
      const size_t begin = std::min(source_.find_first_not_of(' ', at_ + 1), source_.size());
      if (begin - at_ - 1 > kMaxIndentation) return TooDeep();
    }
    return kOperators.find(c) == kOperators.npos ? OkStatus() : CountPart();
  }

  Status CountPart() { return ++parts_ > kMaxStatementParts ? TooDeep() : OkStatus(); }

  Status TooDeep() const { return ForbiddenOperator(file_, "a statement of too many parts"); }

  // `torch.nn.x`, `.forward` after a closing bracket, `forward`.
  std::string_view TakeWord() {
    const size_t begin = at_;
    while (at_ < source_.size() && (IsWord(source_[at_]) || source_[at_] == '.')) ++at_;
    return source_.substr(begin, at_ - begin);
  }

  // 1e-05, 0.5, 3.
  void TakeNumber() {
    while (at_ < source_.size() && (IsWord(source_[at_]) || source_[at_] == '.')) {
      const char c = source_[at_++];
      const bool exponent_sign = (c == 'e' || c == 'E') && at_ < source_.size() &&
                                 (source_[at_] == '-' || source_[at_] == '+');
      if (exponent_sign) ++at_;
    }
  }

  bool NextIsCall() const {
    size_t next = at_;
    while (next < source_.size() && source_[next] == ' ') ++next;
    return next < source_.size() && source_[next] == '(';
  }

  Status CheckWord(std::string_view word) {
    if (word.size() > kMaxWordBytes) return ForbiddenOperator(file_, word);
    if (Contains(kJoiningWords, word)) TF_RETURN_IF_ERROR(CountPart());
    if (word == "def" || word == "class" || word == "import" || word == "from") {
      return CheckDefinition(word);
    }
    const bool call = NextIsCall();
    if (word.starts_with("__torch__.")) {
      // A type; to call one would construct an object or call a function of the archive.
      return call ? ForbiddenOperator(file_, word) : OkStatus();
    }
    if (word.starts_with("torch.")) return CheckOperator(word, "aten::", word.substr(6), call);
    if (word.starts_with("ops.")) {
      const std::string_view rest = word.substr(4);
      const size_t dot = rest.find('.');
      if (dot == std::string_view::npos) return ForbiddenOperator(file_, word);
      return CheckOperator(word, std::string(rest.substr(0, dot)) + "::", rest.substr(dot + 1),
                           call);
    }
    if (!call) return OkStatus();
    if (word.find('.') != std::string_view::npos) {
      return IsForwardMethod(LastSegment(word)) ? OkStatus() : ForbiddenOperator(file_, word);
    }
    return Contains(kBareCalls, word) || Contains(kKeywords, word) ? OkStatus()
                                                                   : ForbiddenOperator(file_, word);
  }

  Status CheckOperator(std::string_view word, std::string_view space, std::string_view name,
                       bool call) const {
    // torch.device("cpu") is a constant.
    if (call && word == "torch.device") return OkStatus();
    const std::string kind = std::string(space) + std::string(name);
    return call && IsAllowedOperator(kind) ? OkStatus() : ForbiddenOperator(file_, kind);
  }

  // `def forward(`, `class Name(Module):`, `import __torch__.x`.
  Status CheckDefinition(std::string_view keyword) {
    while (at_ < source_.size() && source_[at_] == ' ') ++at_;
    const std::string_view name = TakeWord();
    if (keyword == "def") {
      return IsForwardMethod(name) ? OkStatus() : ForbiddenOperator(file_, name);
    }
    if (keyword == "class") {
      const std::string_view rest = source_.substr(at_);
      return rest.starts_with("(Module):") ? OkStatus() : ForbiddenOperator(file_, name);
    }
    return ForbiddenOperator(file_, "an import");
  }

  const std::string_view file_;
  const std::string_view source_;
  size_t at_ = 0;
  int parts_ = 0;  // of the statement so far
  int open_brackets_ = 0;
};

}  // namespace

Status ScanGraphSource(std::string_view file, std::string_view source) {
  return SourceScan(file, source).Run();
}

}  // namespace tightfit
