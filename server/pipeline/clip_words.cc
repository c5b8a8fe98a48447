#include "server/pipeline/clip_words.h"

#include "server/pipeline/clip_unicode.h"

#include <unicode/utf8.h>

#include <cstdint>

namespace tightfit {
namespace {

enum class CharacterClass { kWhiteSpace, kLetter, kNumber, kOther };

CharacterClass ClassOf(char32_t code_point) {
  if (IsWhiteSpace(code_point)) return CharacterClass::kWhiteSpace;
  if (IsLetter(code_point)) return CharacterClass::kLetter;
  if (IsNumber(code_point)) return CharacterClass::kNumber;
  return CharacterClass::kOther;
}

// Reads the class of the character at `position` and moves behind it.
CharacterClass NextClass(std::string_view text, size_t& position) {
  int32_t index = 0;
  char32_t code_point;
  const std::string_view rest = text.substr(position);
  U8_NEXT_OR_FFFD(reinterpret_cast<const uint8_t*>(rest.data()), index,
                  static_cast<int32_t>(rest.size()), code_point);
  position += static_cast<size_t>(index);
  return ClassOf(code_point);
}

size_t ContractionSize(std::string_view text) {
  for (const std::string_view contraction : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (text.starts_with(contraction)) return contraction.size();
  }
  return 0;
}

}  // namespace

std::vector<std::string_view> SplitIntoClipWords(std::string_view text) {
  std::vector<std::string_view> words;
  size_t position = 0;
  while (position < text.size()) {
    const std::string_view rest = text.substr(position);
    bool is_typed_special_token = false;
    for (const std::string_view name : {"<|startoftext|>", "<|endoftext|>"}) {
      if (!rest.starts_with(name)) continue;
      words.push_back(rest.substr(0, 2));
      words.push_back(rest.substr(2, name.size() - 4));
      words.push_back(rest.substr(name.size() - 2, 2));
      position += name.size();
      is_typed_special_token = true;
      break;
    }
    if (is_typed_special_token) continue;
    if (const size_t size = ContractionSize(rest)) {
      words.push_back(rest.substr(0, size));
      position += size;
      continue;
    }
    const size_t start = position;
    const CharacterClass first_class = NextClass(text, position);
    if (first_class == CharacterClass::kWhiteSpace) continue;
    if (first_class != CharacterClass::kNumber) {
      for (size_t next = position; next < text.size(); position = next) {
        if (NextClass(text, next) != first_class) break;
      }
    }
    words.push_back(text.substr(start, position - start));
  }
  return words;
}

}  // namespace tightfit
