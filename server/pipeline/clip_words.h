// The words of a normalised prompt: what CLIP's tokenizer encodes one by one.
#ifndef TIGHTFIT_SERVER_PIPELINE_CLIP_WORDS_H_
#define TIGHTFIT_SERVER_PIPELINE_CLIP_WORDS_H_

#include <string_view>
#include <vector>

namespace tightfit {

// Splits `text` (valid UTF-8, see NormalizeForClip) as these two regular expressions in turn do,
// leaving out white space; the pieces point into `text`:
//   <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+
// The second one only changes the first two alternatives: `<|`, `startoftext`, `|>`.
std::vector<std::string_view> SplitIntoClipWords(std::string_view text);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_CLIP_WORDS_H_
