// The character classes and case mapping that CLIP's tokenizer uses, at the Unicode versions of the
// `tokenizers` library, so that ids do not depend on the ICU a machine has: letters and numbers of
// Unicode 16, lower case of Unicode 17, composition (NFC) of Unicode 9.
#ifndef TIGHTFIT_SERVER_PIPELINE_CLIP_UNICODE_H_
#define TIGHTFIT_SERVER_PIPELINE_CLIP_UNICODE_H_

#include <string>
#include <string_view>

namespace tightfit {

bool IsLetter(char32_t code_point);      // \p{L}
bool IsNumber(char32_t code_point);      // \p{N}
bool IsWhiteSpace(char32_t code_point);  // \s: the property White_Space

// Returns `text` in NFC, each run of white space as one space, and in lower case character by
// character: no final sigma, no language rules. Invalid UTF-8 becomes U+FFFD, one for each maximal
// ill-formed part. The result is valid UTF-8.
std::string NormalizeForClip(std::string_view text);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_CLIP_UNICODE_H_
