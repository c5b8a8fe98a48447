#include "server/pipeline/clip_unicode.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace tightfit {
namespace {

struct CodePointRange {
  char32_t first;
  char32_t last;
};

// Letters and numbers of Unicode 15.1 and 16.0, which an ICU of Unicode 15.0 leaves unassigned.
constexpr CodePointRange kLettersSince15_1[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3},
    {0x10D4A, 0x10D65}, {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389},
    {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7},
    {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x13460, 0x143FA},
    {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
    {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D},
};
constexpr CodePointRange kNumbersSince15_1[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x16130, 0x16139},
    {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA},
};
// Upper case letters of Unicode 16 and 17 and the distance to their lower case.
struct LowerCaseRange {
  char32_t first;
  char32_t last;
  int32_t offset;
};
constexpr LowerCaseRange kLowerCaseSince16[] = {
    {0x1C89, 0x1C89, 1},      {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
    {0xA7CC, 0xA7CC, 1},      {0xA7CE, 0xA7CE, 1},
    {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},
    {0xA7DA, 0xA7DA, 1},      {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
    {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B},
};

template <typename Range, size_t kSize>
const Range* FindRange(const Range (&ranges)[kSize], char32_t code_point) {
  const Range* range =
      std::lower_bound(std::begin(ranges), std::end(ranges), code_point,
                       [](const Range& entry, char32_t value) { return entry.last < value; });
  return range != std::end(ranges) && range->first <= code_point ? range : nullptr;
}

// General categories of the ICU at hand, but not of characters younger than Unicode 16.0.
bool HasCategory(char32_t code_point, uint32_t mask) {
  if ((U_GET_GC_MASK(static_cast<UChar32>(code_point)) & mask) == 0) return false;
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(code_point), age);
  return age[0] <= 16;
}

void AppendLowerCase(char32_t code_point, icu::UnicodeString& text) {
  // The one character whose full lower case has two, without regard to context or language.
  constexpr char32_t kCapitalIWithDotAbove = 0x130;
  if (code_point == kCapitalIWithDotAbove) {
    text.append(UChar32{'i'}).append(UChar32{0x307});
  } else if (const auto* range = FindRange(kLowerCaseSince16, code_point)) {
    text.append(static_cast<UChar32>(code_point) + range->offset);
  } else {
    text.append(u_tolower(static_cast<UChar32>(code_point)));
  }
}

// NFC that leaves characters younger than Unicode 9.0 alone; null where ICU has no data.
const icu::Normalizer2* NfcOfUnicode9() {
  static const icu::Normalizer2* const normalizer = []() -> const icu::Normalizer2* {
    UErrorCode error = U_ZERO_ERROR;
    const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(error);
    if (U_FAILURE(error)) return nullptr;
    auto* known = new icu::UnicodeSet(u"[:Age=9.0:]", error);
    if (U_FAILURE(error)) return nullptr;
    known->freeze();
    return new icu::FilteredNormalizer2(*nfc, *known);
  }();
  return normalizer;
}

}  // namespace

bool IsLetter(char32_t code_point) {
  return HasCategory(code_point, U_GC_L_MASK) || FindRange(kLettersSince15_1, code_point);
}

bool IsNumber(char32_t code_point) {
  return HasCategory(code_point, U_GC_N_MASK) || FindRange(kNumbersSince15_1, code_point);
}

bool IsWhiteSpace(char32_t code_point) { return u_isUWhiteSpace(static_cast<UChar32>(code_point)); }

std::string NormalizeForClip(std::string_view text) {
  icu::UnicodeString composed = icu::UnicodeString::fromUTF8(
      icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  const bool is_ascii =
      std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; });
  if (!is_ascii) {
    UErrorCode error = U_ZERO_ERROR;
    if (const icu::Normalizer2* nfc = NfcOfUnicode9()) {
      icu::UnicodeString normalized = nfc->normalize(composed, error);
      if (U_SUCCESS(error)) composed = std::move(normalized);
    }
  }
  icu::UnicodeString lowered(composed.length() + 16, UChar32{0}, 0);
  bool in_white_space = false;
  for (int32_t i = 0; i < composed.length(); i = composed.moveIndex32(i, 1)) {
    const char32_t code_point = composed.char32At(i);
    const bool is_white_space = IsWhiteSpace(code_point);
    if (!is_white_space) {
      AppendLowerCase(code_point, lowered);
    } else if (!in_white_space) {
      lowered.append(u' ');
    }
    in_white_space = is_white_space;
  }
  std::string utf8;
  lowered.toUTF8String(utf8);
  return utf8;
}

}  // namespace tightfit
